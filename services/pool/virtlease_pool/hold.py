"""HoldLeases: a holder's calls in batches, and its heartbeat.

Every message of the client is a sign of life. Acquires wait in line as tasks that belong to the holder and not to the
stream, so that a stream that breaks loses none of them: the holder comes back and asks again under the same request id.
What is ready when the stream can take another message goes out together.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextvars import Token
from typing import Any

from google.protobuf.message import Message
from google.rpc import status_pb2
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from virtlease.pool.v1 import hold_pb2 as pb
from virtlease_chassis.errors import (
    Cancelled,
    DeadlineExceeded,
    DomainError,
    InvalidArgument,
    ResourceExhausted,
    Unauthenticated,
)
from virtlease_chassis.identity import Caller, current_caller, reauthenticate
from virtlease_chassis.rpc.calls import ShuttingDown, draining
from virtlease_chassis.status import to_status
from virtlease_chassis.telemetry import remote_context
from virtlease_chassis.wire import checked_milliseconds, timestamp
from virtlease_pool import convert
from virtlease_pool.acquire import check_ttl
from virtlease_pool.lease_calls import LeaseCalls
from virtlease_pool.leases import Holder, Lease
from virtlease_pool.leases.table import check_holder_id, new_holder_id
from virtlease_pool.routing import Route

WINDOW = 1024
"""How many operations a holder may have outstanding."""

GRACE_SECONDS = 5.0
"""How long a holder whose stream broke has to come back; its leases' own time to live, if that is shorter."""

_LOOK_OUT_SECONDS = 0.25
_REAUTHENTICATE_SECONDS = 30.0
_MOST_IN_A_MESSAGE = 512
_SCOPE = "pool:lease"
_RPC = "virtlease.pool.v1.PoolService/AcquireLease"
_SAMPLED = "01"


class Hold:
    """One stream of a holder. See `leases.holder.Listener`."""

    def __init__(self, calls: LeaseCalls, routes: Mapping[str, Route], tracer: trace.Tracer, max_age: float) -> None:
        """`routes` say where each operation goes; `max_age` in seconds is when the client is asked to move."""
        self._calls = calls
        self._tracer = tracer
        self._routes = routes
        self._caller = current_caller.get()
        self._holder: Holder | None = None
        self._results: list[pb.LeaseResult] = []
        self._lost: list[pb.LeaseLost] = []
        self._echo = False
        self._news = asyncio.Event()
        self._waiting: dict[int, asyncio.Task[None]] = {}
        self._last_seq = 0
        self._replaced = False
        self._ended = False
        self._error: Exception | None = None
        now = time.monotonic()
        self._ends_at = now + max_age
        self._known_until = now + _REAUTHENTICATE_SECONDS

    async def run(self, incoming: AsyncIterator[pb.HoldLeasesRequest]) -> AsyncIterator[pb.HoldLeasesResponse]:
        """Answers operations until the client is done or has to move. Raises what the client did wrong."""
        first = await anext(aiter(incoming), None)
        if first is None:
            return
        holder = self._holder = self._welcome(first)
        try:
            yield self._answer_to_hello(holder)
            self._take(first)
            reader = asyncio.create_task(self._read(incoming))
            try:
                async for response in self._respond(reader):
                    yield response
            finally:
                self._ended = True
                reader.cancel()
                for task in self._waiting.values():
                    task.cancel()
        finally:
            holder.detach(self, GRACE_SECONDS)
            self._calls.leases.forget(holder)

    def lost(self, lease: Lease, error: Exception) -> None:
        self._lost.append(pb.LeaseLost(lease_id=lease.lease_id, status=_status(error, "")))
        self._news.set()

    def replaced(self) -> None:
        self._replaced = True
        self._news.set()

    def _welcome(self, first: pb.HoldLeasesRequest) -> Holder:
        if not first.HasField("hello"):
            raise InvalidArgument("hello", "the first message says who holds")
        hello = first.hello
        if hello.holder_id:
            check_holder_id(hello.holder_id)
        ttl = self._calls.lease_ttl
        if hello.HasField("ttl"):
            ttl = checked_milliseconds(hello.ttl, "hello.ttl") / 1000
            check_ttl(ttl, "hello.ttl")
        owner = self._caller.principal.name
        holder = self._calls.leases.holder(owner, hello.holder_id or new_holder_id(), ttl, hello.purpose)
        holder.ttl = ttl
        holder.attach(self)
        return holder

    def _answer_to_hello(self, holder: Holder) -> pb.HoldLeasesResponse:
        now = time.time_ns() // 1_000_000
        welcome = pb.HolderWelcome(
            holder_id=holder.holder_id,
            heartbeat_interval=convert.to_duration(holder.ttl / 3),
            held=[convert.to_lease(lease, now, self._calls.address) for lease in holder.leases],
            owner_address=self._calls.address,
        )
        return pb.HoldLeasesResponse(welcome=welcome, window=WINDOW, server_time=timestamp(now))

    async def _respond(self, reader: "asyncio.Task[None]") -> AsyncIterator[pb.HoldLeasesResponse]:
        reader.add_done_callback(lambda _: self._news.set())
        moving = False
        while True:
            self._news.clear()
            while self._results or self._lost or self._echo:
                self._echo = False
                yield self._message()
            if self._error is not None:
                raise self._error
            if self._replaced or (reader.done() and not self._waiting and not self._results):
                return
            if not moving and not reader.done() and (reason := self._reason_to_move()):
                moving = True
                reader.cancel()
                yield pb.HoldLeasesResponse(go_away=pb.HolderGoAway(reason=reason, last_seq=self._last_seq))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_OUT_SECONDS):
                    await self._news.wait()

    def _message(self) -> pb.HoldLeasesResponse:
        results, self._results = self._results[:_MOST_IN_A_MESSAGE], self._results[_MOST_IN_A_MESSAGE:]
        lost, self._lost = self._lost, []
        return pb.HoldLeasesResponse(results=results, lost=lost, server_time=timestamp(time.time_ns() // 1_000_000))

    async def _read(self, incoming: AsyncIterator[pb.HoldLeasesRequest]) -> None:
        try:
            async for message in incoming:
                if message.HasField("hello"):
                    raise InvalidArgument("hello", "stands in the first message only")
                self._take(message)
                if not message.operations:
                    self._echo = True  # the client knows by it that it was heard
                    self._news.set()
        except Exception as error:
            self._error = error

    def _take(self, message: pb.HoldLeasesRequest) -> None:
        assert self._holder is not None
        self._holder.heartbeat()
        if len(self._waiting) + len(message.operations) > WINDOW:
            raise ResourceExhausted(f"more than {WINDOW} operations are outstanding", subject="window")
        for operation in message.operations:
            if operation.seq <= self._last_seq:
                raise InvalidArgument(
                    "operations.seq", f"grows from one to the next; {operation.seq} follows {self._last_seq}"
                )
            self._last_seq = operation.seq
            self._begin(operation)
        for seq in message.cancel:
            if (task := self._waiting.get(seq)) is not None:
                task.cancel()

    def _begin(self, operation: pb.LeaseOperation) -> None:
        """Answers a renewal or a release at once; an acquire as soon as there is a connection."""
        result = pb.LeaseResult(seq=operation.seq)
        try:
            owner = self._acting(operation).principal.name
            name = operation.WhichOneof("request")
            if name is not None and self._routes[name].is_elsewhere(getattr(operation, name)):
                self._wait_for(operation, result, self._pass_on(name, operation, result))
                return
            match name:
                case "renew":
                    result.renew.CopyFrom(self._calls.renew(operation.renew, owner))
                case "release":
                    result.release.CopyFrom(self._calls.release(operation.release, owner))
                case "acquire":
                    self._wait_for(operation, result, self._acquire(operation, owner, result))
                    return
                case _:
                    raise InvalidArgument("operations.request", "an operation is one of the calls")
        except DomainError as error:
            result.status.CopyFrom(_status(error, operation.traceparent))
        self._results.append(result)
        self._news.set()

    def _wait_for(self, operation: pb.LeaseOperation, result: pb.LeaseResult, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._waiting[operation.seq] = task
        task.add_done_callback(lambda done: self._answered(operation, result, done))

    async def _pass_on(self, name: str, operation: pb.LeaseOperation, result: pb.LeaseResult) -> None:
        """Has another replica answer. Its lease belongs to the same holder, and is renewed by calls of its own."""
        request = getattr(operation, name)
        if name == "acquire" and self._holder is not None:
            request.holder_id = self._holder.holder_id
            if not request.HasField("ttl"):
                request.ttl.CopyFrom(convert.to_duration(self._holder.ttl))

        async def here(_request: Message) -> Message:
            raise ShuttingDown  # the others went away meanwhile; the client asks again

        timeout = checked_milliseconds(operation.timeout, "operations.timeout") / 1000
        try:
            async with asyncio.timeout(timeout if operation.HasField("timeout") else None):
                answer = await self._routes[name].answer(request, here, operation.principal)
            getattr(result, name).CopyFrom(answer)
        except TimeoutError:
            error = DeadlineExceeded("the other replica did not answer in time")
            result.status.CopyFrom(_status(error, operation.traceparent))
        except DomainError as error:
            result.status.CopyFrom(_status(error, operation.traceparent))

    async def _acquire(self, operation: pb.LeaseOperation, owner: str, result: pb.LeaseResult) -> None:
        request = operation.acquire
        span, token = self._trace(operation.traceparent)
        try:
            timeout = None
            if operation.HasField("timeout"):
                timeout = checked_milliseconds(operation.timeout, "operations.timeout") / 1000
                if timeout <= 0:
                    raise DeadlineExceeded("the operation came after its time")
            lease = await self._calls.acquire(request, owner, self._holder, timeout)
            result.acquire.CopyFrom(self._calls.acquired(lease))
        except DomainError as error:
            result.status.CopyFrom(_status(error, operation.traceparent))
        finally:
            if span is not None and token is not None:
                span.end()
                otel.detach(token)

    def _answered(self, operation: pb.LeaseOperation, result: pb.LeaseResult, done: "asyncio.Task[None]") -> None:
        """Sends the answer to an acquire. One that was cancelled may never have begun."""
        self._waiting.pop(operation.seq, None)
        if done.cancelled():
            if not self._ended and self._holder is not None:  # else what it waits for goes on without the stream
                self._calls.take_back(self._holder, operation.acquire.request_id)
            result.Clear()
            result.seq = operation.seq
            result.status.CopyFrom(_status(Cancelled("the operation was taken back"), operation.traceparent))
        elif (error := done.exception()) is not None:
            self._error = error if isinstance(error, Exception) else None
        self._results.append(result)
        self._news.set()

    def _trace(self, traceparent: str) -> tuple[trace.Span | None, Token[Context] | None]:
        """The span of an operation whose caller records its trace."""
        if not traceparent.endswith(_SAMPLED):
            return None, None
        parent = remote_context({"traceparent": traceparent})
        attributes = {"rpc.system.name": "grpc", "rpc.method": _RPC}
        span = self._tracer.start_span(_RPC, parent, kind=SpanKind.SERVER, attributes=attributes)
        return span, otel.attach(trace.set_span_in_context(span))

    def _acting(self, operation: pb.LeaseOperation) -> Caller:
        """Who makes an operation. Raises PermissionDenied."""
        if not operation.principal:
            return self._caller
        caller = self._caller.acting_as(operation.principal)
        caller.require(_SCOPE)
        return caller

    def _reason_to_move(self) -> str:
        """Why the client should open another stream, if it should."""
        now = time.monotonic()
        if draining():
            return "DRAINING"
        if now >= self._ends_at:
            return "AGE"
        if now >= self._known_until:
            self._known_until = now + _REAUTHENTICATE_SECONDS
            try:
                reauthenticate.get()()
            except Unauthenticated:
                return "CREDENTIALS_EXPIRED"
        return ""


def _status(error: Exception, traceparent: str) -> status_pb2.Status:
    assert isinstance(error, DomainError)
    return to_status(error, traceparent[3:35] if len(traceparent) == 55 else "")
