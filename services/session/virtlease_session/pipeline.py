"""Pipeline: many operations on one stream, in batches, each with what a call of its own would have carried.

Each message from the client is a batch: its verbs go to the store together, in order, and their answers go back
together. Batches overlap, so that a store that waits for its disk or its network always has the next one at hand; the
store keeps the order of verbs on one session.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.rpc import status_pb2
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from virtlease.session.v1 import pipeline_pb2 as pb
from virtlease_chassis.errors import (
    Cancelled,
    DeadlineExceeded,
    DomainError,
    InvalidArgument,
    ResourceExhausted,
    Unauthenticated,
)
from virtlease_chassis.identity import Caller, current_caller, reauthenticate
from virtlease_chassis.rpc.calls import draining
from virtlease_chassis.status import to_status
from virtlease_chassis.telemetry import remote_context
from virtlease_session import convert
from virtlease_session.model import Answer, Updated, Verb
from virtlease_session.ports import SessionStore

WINDOW = 4096
"""How many operations a client may have outstanding."""

_SMALL_CHUNK, _LARGE_CHUNK = 32, 256
"""A large batch is carried out and answered in parts: the client works on the first while the next is done."""

_LARGE_RESPONSE_BYTES = 512 * 1024
"""A response is sent when it has grown to this: one session more, which may be as large, still fits gRPC's limit."""

_LOOK_OUT_SECONDS = 0.25
_REAUTHENTICATE_SECONDS = 30.0
_MOST_PRINCIPALS = 10_000
_SAMPLED = "01"


class OperationKind:
    """What is done with the operations of one kind: the RPC that each stands for."""

    def __init__(self, rpc: str, scope: str, make: Callable[[Any, Caller], Verb], fill: Callable[[Any, Any], None]):
        self.rpc = f"virtlease.session.v1.SessionService/{rpc}"
        self.scope = scope
        self.make = make
        self.fill = fill


def operation_kinds(requests: convert.Requests) -> dict[str, OperationKind]:
    """The kinds of operations, by their names in the message."""
    write, read = "session:write", "session:read"
    return {
        "create": OperationKind("CreateSession", write, requests.create, convert.fill_create),
        "get_or_create": OperationKind("GetOrCreateSession", write, requests.get_or_create, convert.fill_get_or_create),
        "get": OperationKind("GetSession", read, requests.get, convert.fill_create),
        "update": OperationKind("UpdateSession", write, requests.update, convert.fill_update),
        "refresh": OperationKind("RefreshSession", write, requests.refresh, convert.fill_refresh),
        "end": OperationKind("EndSession", write, requests.end, convert.fill_end),
    }


class Pipeline:
    """One stream, as the server sees it."""

    def __init__(
        self, store: SessionStore, kinds: dict[str, OperationKind], tracer: trace.Tracer, max_age: float
    ) -> None:
        """`max_age` in seconds is when the client is asked to move to another stream."""
        self._store = store
        self._kinds = kinds
        self._tracer = tracer
        self._caller = current_caller.get()
        self._acting: dict[str, _Acting] = {}
        self._answers: asyncio.Queue[pb.PipelineResponse | Exception | None] = asyncio.Queue()
        self._batches: set[asyncio.Task[None]] = set()
        self._outstanding = 0
        self._last_seq = 0
        self._ends_at = time.monotonic() + max_age
        self._known_until = time.monotonic() + _REAUTHENTICATE_SECONDS

    async def run(self, incoming: AsyncIterator[pb.PipelineRequest]) -> AsyncIterator[pb.PipelineResponse]:
        """Answers operations until the client is done, or has to move. Raises what the client did wrong."""
        yield pb.PipelineResponse(window=WINDOW)
        reader = asyncio.create_task(self._read(incoming))
        look_out = asyncio.create_task(self._look_out())
        try:
            while not (reader.done() and not self._batches and self._answers.empty()):
                answer = await self._answers.get()
                if isinstance(answer, Exception):
                    raise answer
                if answer is not None:
                    yield answer
                elif not reader.done() and (reason := self._reason_to_move()):
                    reader.cancel()
                    yield pb.PipelineResponse(go_away=pb.GoAway(reason=reason, last_seq=self._last_seq))
        finally:
            for task in (reader, look_out, *self._batches):
                task.cancel()

    async def _look_out(self) -> None:
        """Wakes the stream from time to time, to see whether it has to move or has come to its end."""
        while True:
            await asyncio.sleep(_LOOK_OUT_SECONDS)
            self._answers.put_nowait(None)

    async def _read(self, incoming: AsyncIterator[pb.PipelineRequest]) -> None:
        try:
            async for message in incoming:
                self._take(message)
        except Exception as error:
            self._answers.put_nowait(error)
        else:
            self._answers.put_nowait(None)

    def _take(self, message: pb.PipelineRequest) -> None:
        """Translates a batch and starts it. Operations that cannot be made are answered with the others."""
        operations = message.operations
        self._outstanding += len(operations)
        if self._outstanding > WINDOW:
            raise ResourceExhausted(f"more than {WINDOW} operations are outstanding", subject="window")
        cancelled = frozenset(message.cancel)
        chunk = min(max(_SMALL_CHUNK, self._outstanding // 2), _LARGE_CHUNK)
        batch = _Batch()
        for operation in operations:
            seq = operation.seq
            if seq <= self._last_seq:
                raise InvalidArgument("operations.seq", f"grows from one to the next; {seq} follows {self._last_seq}")
            self._last_seq = seq
            try:
                if seq in cancelled:
                    raise Cancelled("the operation was taken back")
                name, verb = self._translate(operation)
            except DomainError as error:
                batch.refused.append((seq, operation.traceparent, error))
            else:
                batch.add(seq, name, operation.traceparent, verb)
                if len(batch.verbs) >= chunk:
                    self._start(batch)
                    batch = _Batch()
        self._start(batch)

    def _start(self, batch: "_Batch") -> None:
        task = asyncio.create_task(self._execute(batch))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    def _translate(self, operation: pb.Operation) -> tuple[str, Verb]:
        name = operation.WhichOneof("request")
        if name is None:
            raise InvalidArgument("operations.request", "an operation is one of the calls")
        kind = self._kinds[name]
        acting = self._acting.get(operation.principal) or self._acting_as(operation.principal)
        if name not in acting.allowed:
            acting.caller.require(kind.scope)
        timeout = operation.timeout
        if timeout.seconds <= 0 and timeout.nanos <= 0 and operation.HasField("timeout"):
            raise DeadlineExceeded("the operation came after its time")
        return name, kind.make(getattr(operation, name), acting.caller)

    async def _execute(self, batch: "_Batch") -> None:
        spans = [self._span(self._kinds[name], traceparent) for name, traceparent in batch.traced]
        try:
            with trace.use_span(spans[0]) if spans else contextlib.nullcontext():
                answers = await self._store.execute(batch.verbs)
            for response in self._responses(batch, answers):
                self._answers.put_nowait(response)
            self._outstanding -= len(batch)
        except Exception as error:
            self._answers.put_nowait(error)
        finally:
            for span in spans:
                span.end()

    def _responses(self, batch: "_Batch", answers: Sequence[Answer | DomainError]) -> Iterator[pb.PipelineResponse]:
        """The answers, in messages of a size that gRPC takes."""
        response, size = _new_response(), 0
        for (seq, name, traceparent), answer in zip(batch.named, answers, strict=True):
            result = response.results.add()
            result.seq = seq
            if isinstance(answer, DomainError):
                result.status.CopyFrom(_status(answer, traceparent))
            else:
                self._kinds[name].fill(getattr(result, name), answer)
            if not isinstance(answer, Updated):  # those are small, and many
                size += result.ByteSize()
                if size >= _LARGE_RESPONSE_BYTES:
                    yield response
                    response, size = _new_response(), 0
        for seq, traceparent, error in batch.refused:
            response.results.add(seq=seq, status=_status(error, traceparent))
        if response.results:
            yield response

    def _acting_as(self, principal: str) -> "_Acting":
        """The caller in the name of a principal, as the header says it. Raises PermissionDenied."""
        if len(self._acting) > _MOST_PRINCIPALS:
            self._acting.clear()
        caller = self._caller.acting_as(principal) if principal else self._caller
        allowed = frozenset(name for name, kind in self._kinds.items() if caller.principal.has(kind.scope))
        acting = self._acting[principal] = _Acting(caller, allowed)
        return acting

    def _span(self, kind: OperationKind, traceparent: str) -> trace.Span:
        parent = remote_context({"traceparent": traceparent})
        attributes = {"rpc.system.name": "grpc", "rpc.method": kind.rpc}
        return self._tracer.start_span(kind.rpc, parent, kind=SpanKind.SERVER, attributes=attributes)

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


@dataclass(frozen=True, slots=True)
class _Acting:
    """A caller in somebody's name, and the kinds of operations that they may ask for."""

    caller: Caller
    allowed: frozenset[str]


class _Batch:
    """The operations that are carried out together: those that go to the store, and those that are refused."""

    __slots__ = ("named", "refused", "traced", "verbs")

    def __init__(self) -> None:
        self.named: list[tuple[int, str, str]] = []
        """Seq, kind and traceparent of each verb."""
        self.verbs: list[Verb] = []
        self.refused: list[tuple[int, str, DomainError]] = []
        """Seq, traceparent and error."""
        self.traced: list[tuple[str, str]] = []
        """Kind and traceparent of the verbs whose callers record their traces."""

    def add(self, seq: int, name: str, traceparent: str, verb: Verb) -> None:
        self.named.append((seq, name, traceparent))
        self.verbs.append(verb)
        if traceparent.endswith(_SAMPLED):
            self.traced.append((name, traceparent))

    def __len__(self) -> int:
        return len(self.named) + len(self.refused)


def _new_response() -> pb.PipelineResponse:
    response = pb.PipelineResponse()
    convert.fill_time(response.server_time, time.time_ns() // 1_000_000)
    return response


def _status(error: DomainError, traceparent: str) -> status_pb2.Status:
    return to_status(error, traceparent[3:35] if len(traceparent) == 55 else "")
