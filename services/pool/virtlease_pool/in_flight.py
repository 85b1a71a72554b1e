"""How many calls run in a hypervisor and on each of its VMs, counted from their beginning to their return.

A call that hangs cannot be called back: its caller may be gone, and it still keeps a worker of libvirtd busy. So it is
counted in the thread that makes it. Who finds no room waits in line, without holding a connection meanwhile: two hung
calls on one VM must not use up what the other VMs need.
"""

import asyncio
import contextlib
import threading
from collections import deque
from types import TracebackType
from typing import Self

from virtlease_pool.errors import CallsInFlight

_HOST = ""


class Permit:
    """The right to run one call. It ends once."""

    __slots__ = ("_in_flight", "_key", "_over")

    def __init__(self, in_flight: "InFlight", key: str) -> None:
        self._in_flight = in_flight
        self._key = key
        self._over = False

    def release(self) -> None:
        """The call has come back, or was never made."""
        if not self._over:
            self._over = True
            self._in_flight._release(self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class InFlight:
    """The calls in one hypervisor. `enter` is for threads; `wait` for the event loop on which this was made."""

    def __init__(self, hypervisor: str, on_host: int, on_vm: int = 2) -> None:
        self._hypervisor = hypervisor
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self.on_host = on_host
        self._on_vm = on_vm
        self._counts: dict[str, int] = {}
        self._waiters: dict[str, deque[asyncio.Future[Permit]]] = {}

    @property
    def running(self) -> int:
        """The calls that run now."""
        return self._counts.get(_HOST, 0)

    def enter(self, permits: "Permits", vm: str = _HOST) -> Permit:
        """A permit for a call on the host, or on a VM by its UUID. Raises CallsInFlight when there are too many."""
        if (permit := permits.take(vm)) is not None:
            return permit
        with self._lock:
            count = self._counts.get(vm, 0)
            most = self._on_vm if vm else self.on_host
            if count >= most:
                raise CallsInFlight(self._hypervisor, vm, most)
            self._counts[vm] = count + 1
        return Permit(self, vm)

    async def wait(self, full: CallsInFlight, timeout: float) -> Permit:
        """The next permit of what was full, in order of arrival. Raises what it was given when the time is up."""
        line = self._waiters.setdefault(full.vm, deque())
        future: asyncio.Future[Permit] = self._loop.create_future()
        line.append(future)
        with self._lock:  # it may have come free before there was anybody in the line
            free = self._counts.get(full.vm, 0) < full.most
            if free:
                self._counts[full.vm] = self._counts.get(full.vm, 0) + 1
        if free:
            self._grant(full.vm)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except (TimeoutError, asyncio.CancelledError) as error:
            if future.done() and not future.cancelled():
                future.result().release()
            if isinstance(error, TimeoutError):
                raise full from None
            raise
        finally:
            with contextlib.suppress(ValueError):
                line.remove(future)
            if not line and self._waiters.get(full.vm) is line:
                del self._waiters[full.vm]

    def _release(self, key: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(self._grant, key)

    def _grant(self, key: str) -> None:
        """Passes a permit on to the first who waits for it; uncounts it when nobody does."""
        line = self._waiters.get(key, ())
        for future in line:
            if not future.done():
                future.set_result(Permit(self, key))
                return
        with self._lock:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]


class Permits:
    """Permits that a call has waited for and not yet used. Leaving the block gives back what is left."""

    def __init__(self) -> None:
        self._held: dict[str, Permit] = {}

    def add(self, vm: str, permit: Permit) -> None:
        """Keeps a permit for the next attempt."""
        self._held[vm] = permit

    def take(self, vm: str) -> Permit | None:
        """The permit for a VM or the host, once."""
        return self._held.pop(vm, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._held:
            self._held.popitem()[1].release()
