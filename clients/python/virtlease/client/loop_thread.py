"""The thread in which everything that waits for a service runs.

One event loop in a thread of its own carries the channels, the services that are embedded, and what keeps leases alive.
So a program may block as long as it likes and loses no lease, plain threads and any number of event loops can use the
same client, and the synchronous API and its asynchronous twin are the same code. The price is a hop between two threads
for each call, some 50 microseconds; `SessionPipeline` runs without it on a loop of one's own.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from virtlease.client.errors import Closed

T = TypeVar("T")
_END_SECONDS = 10.0


class LoopThread:
    """An event loop in a daemon thread. `shared` returns the one of this process."""

    def __init__(self) -> None:
        self._loop = _new_loop()
        self._pid = os.getpid()
        self._open: set[Resource[Any]] = set()
        threading.Thread(target=self._loop.run_forever, name="virtlease-client", daemon=True).start()
        atexit.register(self._end)

    @property
    def usable(self) -> bool:
        """Whether it is of this process, and not of the one that forked it."""
        return os.getpid() == self._pid

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Starts a coroutine on the loop. Cancelling the future cancels it. Raises Closed in the child of a fork."""
        if not self.usable:
            coroutine.close()
            raise Closed("this was opened before the process forked; open another one in the child")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop while this thread waits."""
        future = self.submit(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # a KeyboardInterrupt: nobody waits any more
            raise

    async def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop while this coroutine, on a loop of its own, waits; a cancel is passed on."""
        return await asyncio.wrap_future(self.submit(coroutine))

    def keep(self, resource: "Resource[Any]") -> None:
        """Closes the resource when the process ends, unless `drop` is called."""
        self._open.add(resource)

    def drop(self, resource: "Resource[Any]") -> None:
        """The resource is closed."""
        self._open.discard(resource)

    def _end(self) -> None:
        """Closes what the program left open. A service that is in this process is told no later than its clients."""
        if not self.usable:
            return
        with contextlib.suppress(Exception):  # the process ends: there is nobody left to tell
            self.submit(self._close_all()).result(_END_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close_all(self) -> None:
        await asyncio.gather(*(resource.aclose() for resource in list(self._open)), return_exceptions=True)


class Resource(Generic[T]):
    """Something that is open on the loop thread, from its first use until it is closed."""

    def __init__(self, name: str, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        """`name` is what the message of Closed says was closed; `make` is entered on the loop thread."""
        self.thread = shared()
        self._name = name
        self._make = make
        self._lock: asyncio.Lock | None = None
        self._context: AbstractAsyncContextManager[T] | None = None
        self._value: T | None = None
        self._closed = False

    async def get(self) -> T:
        """The thing, opened at the first call. To be awaited on the loop thread. Raises Closed."""
        if self._value is not None and not self._closed:
            return self._value
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            if self._closed:
                raise Closed(f"this {self._name} was closed; open another one")
            if self._value is None:
                context = self._make()
                self._value = await context.__aenter__()
                self._context = context
                self.thread.keep(self)
            return self._value

    async def aclose(self) -> None:
        """Closes it, if it was ever opened. To be awaited on the loop thread."""
        self._closed = True
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            self.thread.drop(self)
            context, self._context, self._value = self._context, None, None
            if context is not None:
                await context.__aexit__(None, None, None)


_lock = threading.Lock()
_shared: LoopThread | None = None


def shared() -> LoopThread:
    """The loop thread of this process, started at the first call; the child of a fork gets one of its own."""
    global _shared
    with _lock:
        if _shared is None or not _shared.usable:
            _shared = LoopThread()
        return _shared


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
