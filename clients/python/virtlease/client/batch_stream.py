"""Many calls on one bidirectional stream, in batches.

What callers have queued while the last message was being written goes out together, without any delay: one caller has
the latency of a stream, a hundred callers have a hundred times its rate. A stream that breaks is opened anew, and what
was not answered is sent again, in order and before anything new; request ids make that safe.

It works for any RPC whose messages are spelt like those of `SessionService.Pipeline`: requests with `operations` and
`cancel`, responses with `results`, `window` and `go_away`.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from virtlease.client.errors import CallFailed

Metadata = Sequence[tuple[str, str]]

_FIRST_WINDOW = 256
_LARGEST_BATCH = 512
_LARGEST_BATCH_BYTES = 1024 * 1024
_FIRST_BACKOFF = 0.05
_LAST_BACKOFF = 1.0

# After these there is no use in trying again with the same credentials at the same place.
_FINAL = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)

# What grpc.aio says (as INTERNAL) of a stream that broke while it was written to: the cause comes with another one.
_UNCLEAR = "Internal error from Core"
_UNCLEAR_TRIES = 5


class _Call:
    """An operation that was asked for. `seq` is 0 until it is sent."""

    __slots__ = ("bucket", "future", "message", "name", "principal", "seq", "timeout", "traceparent")

    def __init__(
        self, name: str, message: Any, traceparent: str, principal: str, timeout: float, future: "asyncio.Future[Any]"
    ) -> None:
        self.seq = 0
        self.name = name
        self.message = message
        self.traceparent = traceparent
        self.principal = principal
        self.timeout = timeout
        self.future = future
        self.bucket = 0


class _Deadlines:
    """When calls give up, to a twentieth of a second: a timer for each of them would cost more than the call."""

    _PER_SECOND = 20

    def __init__(self, time_out: Callable[[_Call], None]) -> None:
        self._time_out = time_out
        self._buckets: dict[int, set[_Call]] = {}

    def add(self, call: _Call, loop: asyncio.AbstractEventLoop) -> None:
        number = call.bucket = int((loop.time() + call.timeout) * self._PER_SECOND) + 1
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = set()
            loop.call_at(number / self._PER_SECOND, self._pass, number)
        bucket.add(call)

    def remove(self, call: _Call) -> None:
        if (bucket := self._buckets.get(call.bucket)) is not None:
            bucket.discard(call)

    def _pass(self, number: int) -> None:
        for call in self._buckets.pop(number):
            self._time_out(call)


class BatchStream:
    """Carries calls over one stream at a time. Belongs to the event loop on which it is first used."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        path: str,
        request_class: Any,
        response_class: Any,
        *,
        metadata: Callable[[], Metadata] = tuple,
        patience: float = 5.0,
    ) -> None:
        """
        Args:
            channel: leads to the service.
            path: the RPC, `/package.Service/Method`.
            request_class: the class of its requests.
            response_class: the class of its responses.
            metadata: called for each new stream.
            patience: how long, in seconds, to try for another stream after one broke before its calls fail.
        """
        self._open: Any = channel.stream_stream(
            path,
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        self._request_class = request_class
        self._metadata = metadata
        self._patience = patience
        self._queue: list[_Call] = []
        self._sent: dict[int, _Call] = {}
        self._cancelled: list[int] = []
        self._seq = 0
        self._window = _FIRST_WINDOW
        self._moving = False
        self._wake = asyncio.Event()
        self._deadlines = _Deadlines(self._time_out)
        self._worker: asyncio.Task[None] | None = None
        self._answered = False
        self._closed = False
        self._server_time: Any = None
        self._heard_at = 0.0

    async def call(self, name: str, message: Any, *, timeout: float, traceparent: str = "", principal: str = "") -> Any:
        """Sends one operation and returns its response.

        Args:
            name: the field of the operation that holds the request.
            message: the request. One that writes must have a request id: it may be sent twice.
            timeout: how long to wait, in seconds.
            traceparent: the W3C trace context of the caller; empty for none.
            principal: whom the caller acts for, as the header `x-virtlease-principal` says it; empty for none.

        Raises CallFailed: with what the service says, with DEADLINE_EXCEEDED when the time is up, or with UNAVAILABLE
        when no stream can be had. In the last two cases the operation may have had its effect.
        """
        if self._closed:
            raise CallFailed.of(grpc.StatusCode.UNAVAILABLE, "the stream was closed")
        loop = asyncio.get_running_loop()
        call = _Call(name, message, traceparent, principal, timeout, loop.create_future())
        self._queue.append(call)
        self._wake.set()
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        self._deadlines.add(call, loop)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._take_back(call)
            raise
        finally:
            self._deadlines.remove(call)

    def server_time(self) -> float:
        """The server's clock now, in seconds since the epoch, to measure its times against; ours before any answer."""
        if self._server_time is None:
            return time.time()
        return float(self._server_time.ToMilliseconds() / 1000 + time.monotonic() - self._heard_at)

    async def close(self) -> None:
        """Ends the stream. What waits for an answer is failed as UNAVAILABLE."""
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._fail_all(CallFailed.of(grpc.StatusCode.UNAVAILABLE, "the stream was closed"))

    async def _work(self) -> None:
        """Keeps a stream open; ends, having failed all that waited, when none can be had."""
        backoff = _FIRST_BACKOFF
        unclear = 0
        give_up_at = 0.0
        while True:
            failure = None
            try:
                await self._run_stream()
            except grpc.aio.AioRpcError as error:
                failure = CallFailed.from_rpc_error(error)
            now = asyncio.get_running_loop().time()
            if self._answered:  # patience begins when a stream that worked is over, however long it was silent
                give_up_at, backoff = now + self._patience, _FIRST_BACKOFF
            else:
                backoff = min(backoff * 2, _LAST_BACKOFF)
            if failure is not None:
                unclear = unclear + 1 if failure.message.startswith(_UNCLEAR) else 0
                if failure.code in _FINAL or (now >= give_up_at and not 0 < unclear < _UNCLEAR_TRIES):
                    self._fail_all(failure)
                    return
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))

    async def _run_stream(self) -> None:
        """One stream, from its first message to its last. Raises AioRpcError when it breaks."""
        self._queue = [call for call in (*self._sent.values(), *self._queue) if not call.future.done()]
        self._sent.clear()
        self._cancelled.clear()
        self._moving = self._answered = False
        stream = self._open(metadata=tuple(self._metadata()))
        reader = asyncio.create_task(self._read(stream))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            while not reader.done():
                while not self._moving and (message := self._next_message()) is not None:
                    await stream.write(message)
                self._wake.clear()
                if not reader.done() and not self._has_work():
                    await self._wake.wait()
            reader.result()
        except asyncio.InvalidStateError:
            await reader  # the stream is done; its reader knows why
        finally:
            reader.cancel()
            stream.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def _has_work(self) -> bool:
        room = bool(self._queue) and len(self._sent) < self._window
        return not self._moving and (room or bool(self._cancelled))

    def _next_message(self) -> Any:
        """What is queued, as one message, as far as the window and the size of a message allow; None for nothing."""
        if not self._has_work():
            return None
        request = self._request_class()
        request.cancel.extend(self._cancelled)
        self._cancelled.clear()
        room = min(_LARGEST_BATCH, self._window - len(self._sent))
        taken = size = 0
        for call in self._queue:
            if len(request.operations) >= room or size >= _LARGEST_BATCH_BYTES:
                break
            taken += 1
            if not call.future.done():
                size += call.message.ByteSize()
                self._add(request.operations.add(), call)
        del self._queue[:taken]
        return request

    def _add(self, operation: Any, call: _Call) -> None:
        self._seq += 1
        operation.seq = call.seq = self._seq
        getattr(operation, call.name).CopyFrom(call.message)
        timeout = operation.timeout
        timeout.seconds = int(call.timeout)
        if call.timeout % 1:
            timeout.nanos = int(call.timeout % 1 * 1e9)
        if call.traceparent:
            operation.traceparent = call.traceparent
        if call.principal:
            operation.principal = call.principal
        self._sent[self._seq] = call

    async def _read(self, stream: Any) -> None:
        """Hands out answers until the stream ends."""
        while (response := await stream.read()) is not grpc.aio.EOF:
            self._answered = True
            if response.window:
                self._window = response.window
            if response.HasField("server_time"):
                self._server_time, self._heard_at = response.server_time, time.monotonic()
            for result in response.results:
                self._answer(result)
            if response.HasField("go_away"):
                self._moving = True  # the server answers what it has taken, and ends the stream
            self._wake.set()
        if (code := await stream.code()) is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                code, await stream.initial_metadata(), await stream.trailing_metadata(), await stream.details()
            )

    def _answer(self, result: Any) -> None:
        call = self._sent.pop(result.seq, None)
        if call is None or call.future.done():
            return
        if result.HasField("status"):
            call.future.set_exception(CallFailed.from_status(result.status))
        else:
            call.future.set_result(getattr(result, call.name))

    def _time_out(self, call: _Call) -> None:
        if not call.future.done():
            call.future.set_exception(
                CallFailed.of(grpc.StatusCode.DEADLINE_EXCEEDED, "the service did not answer in time")
            )
            self._take_back(call)

    def _take_back(self, call: _Call) -> None:
        """Tells the server that nobody waits for the answer. One that was not sent yet is passed over by itself."""
        if call.seq in self._sent:
            self._cancelled.append(call.seq)
            self._wake.set()

    def _fail_all(self, failure: CallFailed) -> None:
        for call in (*self._sent.values(), *self._queue):
            if not call.future.done():
                call.future.set_exception(failure)
        self._sent.clear()
        self._queue.clear()
