"""The pool service's fast path: leases acquired, renewed and released in batches, on the stream that keeps them alive.

`LeaseStream` is what clients for users are built on: it stands alone, and knows the messages of HoldLeases and nothing
of connections or commands.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from virtlease.client.batch_stream import BatchStream, Metadata
from virtlease.client.errors import CallFailed
from virtlease.pool.v1 import hold_pb2, lease_pb2

_PATH = "/virtlease.pool.v1.PoolService/HoldLeases"
_RENEW_TIMEOUT = 5.0

# So long may the answer to a repeated acquire take, before the lease it was granted is taken for nobody's.
_BEATS_TO_CLAIM = 2


class _HolderStream(BatchStream):
    """A stream whose first message says who holds, and whose every message is a heartbeat."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        hello: Callable[[], hold_pb2.HolderHello],
        heard: Callable[[hold_pb2.HoldLeasesResponse], None],
        granted: Callable[[str, lease_pb2.Lease, bool], None],
        **options: Any,
    ) -> None:
        """`granted` is told of each lease that comes, for which request, and whether somebody waits for it."""
        super().__init__(channel, _PATH, hold_pb2.HoldLeasesRequest, hold_pb2.HoldLeasesResponse, **options)
        self._hello = hello
        self._heard = heard
        self._granted = granted
        self._hello_due = False
        self._beat_due = False

    def beat(self) -> None:
        """Sends a message, even if there is nothing else to say; on a new stream if there is none."""
        self._beat_due = True
        self._wake.set()
        if not self._closed and (self._worker is None or self._worker.done()):
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _run_stream(self) -> None:
        self._hello_due = True
        await super()._run_stream()

    def _has_work(self) -> bool:
        return (not self._moving and (self._hello_due or self._beat_due)) or super()._has_work()

    def _next_message(self) -> Any:
        message = super()._next_message()
        if message is not None and self._hello_due:
            message.hello.CopyFrom(self._hello())
        self._hello_due = self._beat_due = False
        return message

    def _answer(self, result: Any) -> None:
        if result.HasField("acquire"):
            call = self._sent.get(result.seq)
            wanted = call is not None and not call.future.done()
            self._granted(call.message.request_id if call else "", result.acquire.lease, wanted)
        super()._answer(result)

    async def _read(self, stream: Any) -> None:
        await super()._read(_Overheard(stream, self._heard))


class _Overheard:
    """A stream, and somebody who sees what is read from it."""

    def __init__(self, stream: Any, heard: Callable[[hold_pb2.HoldLeasesResponse], None]) -> None:
        self._stream = stream
        self._heard = heard

    async def read(self) -> Any:
        response = await self._stream.read()
        if response is not grpc.aio.EOF:
            self._heard(response)
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class LeaseStream:
    """One holder at one address of the pool service. Belongs to the event loop on which it is first used.

    Its leases live for as long as it does: it sends a heartbeat every third of the time to live, comes back under the
    same holder id when the stream breaks, and renews leases that another replica holds. What is lost all the same is
    told to `on_lost`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        ttl: float = 15.0,
        purpose: str = "",
        metadata: Callable[[], Metadata] = tuple,
        patience: float = 5.0,
        on_lost: Callable[[str, CallFailed], None] = lambda _lease_id, _why: None,
    ) -> None:
        """
        Args:
            channel: leads to the service.
            ttl: how long leases live without a heartbeat, in seconds: 3 to 300.
            purpose: what the holder is, for operators.
            metadata: called for each new stream.
            patience: how long, in seconds, to try for another stream after one broke before its calls fail.
            on_lost: called with the id of each lease that ended without being released, and with why.
        """
        self._ttl = ttl
        self._purpose = purpose
        self._on_lost = on_lost
        self._stream = _HolderStream(
            channel, self._hello, self._hear, self._granted, metadata=metadata, patience=patience
        )
        self._holder_id = ""
        self._address = ""
        self._held: dict[str, lease_pb2.Lease] = {}
        self._arrived: dict[str, str] = {}
        """Leases that came and whose callers have not run since, by request id."""
        self._unclaimed: dict[str, int] = {}
        """Leases that the server says are held and nobody here knows: for how many heartbeats that is so."""
        self._heard_at = 0.0
        self._heart: asyncio.Task[None] | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self._prefix = secrets.token_urlsafe(12)
        self._numbers = itertools.count(1)

    @property
    def held(self) -> dict[str, lease_pb2.Lease]:
        """The leases it holds, by id."""
        return dict(self._held)

    async def acquire(self, request: lease_pb2.AcquireLeaseRequest, **options: Any) -> lease_pb2.AcquireLeaseResponse:
        """AcquireLease. Times and errors are those of `BatchStream.call`.

        A caller who is cancelled leaves no lease behind.
        """
        self._start()
        if not request.request_id:
            request.request_id = f"{self._prefix}-{next(self._numbers)}"
        try:
            response: lease_pb2.AcquireLeaseResponse = await self._stream.call("acquire", request, **options)
        except asyncio.CancelledError:
            lease_id = self._arrived.pop(request.request_id, "")
            if self._held.pop(lease_id, None) is not None:
                self._run_errand(self._give_back(lease_id))  # it came in the moment in which the caller went away
            raise
        self._arrived.pop(request.request_id, None)
        return response

    async def renew(self, request: lease_pb2.RenewLeaseRequest, **options: Any) -> lease_pb2.RenewLeaseResponse:
        """RenewLease; not needed for leases of this holder, which the stream keeps."""
        self._start()
        response: lease_pb2.RenewLeaseResponse = await self._stream.call("renew", request, **options)
        return response

    async def release(self, request: lease_pb2.ReleaseLeaseRequest, **options: Any) -> lease_pb2.ReleaseLeaseResponse:
        """ReleaseLease."""
        self._start()
        was_held = self._held.pop(request.lease_id, None) is not None
        try:
            response: lease_pb2.ReleaseLeaseResponse = await self._stream.call("release", request, **options)
        except CallFailed as failure:
            if was_held and failure.reason == "LEASE_RELEASED":
                return lease_pb2.ReleaseLeaseResponse()  # the stream broke after the first attempt
            raise
        return response

    async def close(self) -> None:
        """Ends the stream. Leases that were not released end when their holder's grace time is over."""
        tasks = [*self._errands, *([self._heart] if self._heart else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stream.close()

    def _start(self) -> None:
        if self._heart is None or self._heart.done():
            self._heard_at = asyncio.get_running_loop().time()
            self._heart = asyncio.get_running_loop().create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._ttl / 3)
            self._stream.beat()
            for lease in list(self._held.values()):
                if lease.owner_address != self._address:
                    self._run_errand(self._renew(lease.lease_id))
            self._give_back_unclaimed()
            if self._held and asyncio.get_running_loop().time() - self._heard_at > self._ttl:
                # Whatever the server thinks of them, nobody can rely on them any more.
                silent = CallFailed.of(grpc.StatusCode.UNAVAILABLE, "the pool service has not answered for a lifetime")
                for lease_id in list(self._held):
                    self._lose(lease_id, silent)

    def _give_back_unclaimed(self) -> None:
        """What nobody here knows of was granted to a caller who went away while the stream was broken."""
        for lease_id, beats in list(self._unclaimed.items()):
            if lease_id in self._held:
                del self._unclaimed[lease_id]
            elif beats < _BEATS_TO_CLAIM:
                self._unclaimed[lease_id] = beats + 1
            else:
                del self._unclaimed[lease_id]
                self._run_errand(self._give_back(lease_id))

    def _run_errand(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _give_back(self, lease_id: str) -> None:
        with contextlib.suppress(CallFailed):  # it has ended, or will: nobody keeps it alive
            await self._stream.call("release", lease_pb2.ReleaseLeaseRequest(lease_id=lease_id), timeout=_RENEW_TIMEOUT)

    async def _renew(self, lease_id: str) -> None:
        """Keeps a lease that another replica holds: the heartbeat does not reach it."""
        try:
            await self._stream.call("renew", lease_pb2.RenewLeaseRequest(lease_id=lease_id), timeout=_RENEW_TIMEOUT)
        except CallFailed as failure:
            if failure.reason.startswith("LEASE_"):
                self._lose(lease_id, failure)

    def _hello(self) -> hold_pb2.HolderHello:
        ttl = Duration()
        ttl.FromMilliseconds(round(self._ttl * 1000))
        return hold_pb2.HolderHello(holder_id=self._holder_id, ttl=ttl, purpose=self._purpose)

    def _hear(self, response: hold_pb2.HoldLeasesResponse) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if response.HasField("welcome"):
            self._holder_id = response.welcome.holder_id
            self._address = response.welcome.owner_address
            held = {lease.lease_id for lease in response.welcome.held}
            gone = CallFailed.of(grpc.StatusCode.NOT_FOUND, "the lease ended while the stream was broken")
            for lease in list(self._held.values()):
                if lease.owner_address == self._address and lease.lease_id not in held:
                    self._lose(lease.lease_id, gone)
            self._unclaimed = dict.fromkeys(held - self._held.keys(), 0)
        for lost in response.lost:
            self._lose(lost.lease_id, CallFailed.from_status(lost.status))

    def _granted(self, request_id: str, lease: lease_pb2.Lease, wanted: bool) -> None:
        if wanted:
            self._held[lease.lease_id] = lease
            self._arrived[request_id] = lease.lease_id
        else:
            self._run_errand(self._give_back(lease.lease_id))

    def _lose(self, lease_id: str, why: CallFailed) -> None:
        if self._held.pop(lease_id, None) is not None:
            self._on_lost(lease_id, why)
