"""A libvirt connection in a thread of its own, with one call in flight.

Two threads that wait on one connection when its keepalive times out crash the process (libvirt before 10.4), five
stuck calls silence it, and a call cannot be cancelled: so no connection is ever shared, and a hung one holds only the
thread that it hangs.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any, Self, TypeVar
from urllib.parse import quote

import libvirt

from virtlease_chassis.errors import DomainError
from virtlease_pool.driver import domain_events, errors
from virtlease_pool.errors import ConnectionBroke, HypervisorUnavailable
from virtlease_pool.model import HypervisorConfig, VmEvent

T = TypeVar("T")
log = logging.getLogger(__name__)

_KEEPALIVE_SECONDS = 5
_KEEPALIVE_COUNT = 5

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class LibvirtConnection:
    """See `ports.Connection`. Belongs to the event loop on which it was opened."""

    def __init__(self, hypervisor: str) -> None:
        self._hypervisor = hypervisor
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._handle: libvirt.virConnect | None = None
        self._broken = False
        self._tainted = False
        self._callbacks: list[int] = []
        self._quiet = asyncio.Event()
        self._quiet.set()
        threading.Thread(target=self._work, name=f"libvirt-{hypervisor}", daemon=True).start()

    @classmethod
    async def open(cls, config: HypervisorConfig) -> Self:
        """Opens a connection. Raises the domain error of what libvirt says."""
        connection = cls(config.name)
        try:
            connection._handle = await connection._submit(lambda: connection._open(config))
        except BaseException:
            connection._jobs.put(None)
            raise
        return connection

    async def run(self, call: Callable[[Any], T]) -> T:
        await self._quiet.wait()  # a call whose caller went away may still run
        if self._broken or self._handle is None:
            raise HypervisorUnavailable(self._hypervisor, "the connection is broken")
        handle = self._handle
        try:
            return await self._submit(lambda: call(handle))
        except HypervisorUnavailable as error:
            raise ConnectionBroke(self._hypervisor, error.message) from error

    @property
    def fault(self) -> str:
        if self._handle is None or self._broken:
            return "broken"
        if self._tainted:
            return "tainted"
        return "" if self._quiet.is_set() else "busy"

    def taint(self) -> None:
        self._tainted = True

    async def quiet(self) -> None:
        await self._quiet.wait()

    async def watch(self, tell: Callable[[VmEvent], None]) -> None:
        def from_event_thread(event: VmEvent) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                self._loop.call_soon_threadsafe(tell, event)

        source = domain_events.Source(self._hypervisor, from_event_thread)
        self._callbacks = await self.run(lambda handle: domain_events.register(handle, source))

    async def alive(self) -> bool:
        # isAlive() alone is a local flag that stays true when the daemon has died.
        try:
            return bool(await self.run(lambda handle: handle.isAlive() and handle.getLibVersion()))
        except Exception:
            return False

    async def close(self) -> None:
        await self._quiet.wait()
        handle, self._handle = self._handle, None
        if handle is not None:
            try:
                left = await self._submit(lambda: _close(handle, self._callbacks))
                if left > 0:
                    log.warning("%d references to a connection to %s were leaked", left, self._hypervisor)
            except Exception as error:
                log.debug("closing a connection to %s: %s", self._hypervisor, error)
        self._jobs.put(None)

    async def _submit(self, job: Callable[[], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._quiet.clear()
        self._jobs.put((job, future))
        return await future

    def _work(self) -> None:
        """The thread: one job after the other until there is a None."""
        while (entry := self._jobs.get()) is not None:
            job, future = entry
            result: Any = None
            error: Exception | None = None
            try:
                result = job()
            except libvirt.libvirtError as libvirt_error:
                log.debug("libvirt on %s: %s", self._hypervisor, libvirt_error)
                self._broken = self._broken or errors.is_broken(libvirt_error)
                error = errors.translate(libvirt_error, self._hypervisor)
            except Exception as other:
                error = _without_frames(other)
            del entry, job  # they may refer to domains, as frames do
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                self._loop.call_soon_threadsafe(self._finish, future, result, error)
            del future, result, error

    def _finish(self, future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        self._quiet.set()
        if future.done():
            return  # cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _open(self, config: HypervisorConfig) -> libvirt.virConnect:
        handle = libvirt.open(_uri(config))
        try:
            handle.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:  # a driver in this process needs none
                handle.close()
                raise
        with contextlib.suppress(libvirt.libvirtError):
            handle.registerCloseCallback(_on_close, self)
        return handle


def _without_frames(error: Exception) -> Exception:
    """The error without the frames it came through: they refer to domains, and a domain holds its connection open."""
    if not isinstance(error, DomainError):
        error.add_note("".join(traceback.format_exception(error)))  # a fault of ours: the log shall have it
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def _on_close(_handle: libvirt.virConnect, reason: int, connection: LibvirtConnection) -> None:
    """Called in the event thread when the other side is gone."""
    log.info("the connection to %s was closed from the other side (reason %d)", connection._hypervisor, reason)
    connection._broken = True


def _close(handle: libvirt.virConnect, callbacks: list[int]) -> int:
    """Closes a connection; returns how many others still refer to it."""
    for number in callbacks:
        with contextlib.suppress(libvirt.libvirtError):
            handle.domainEventDeregisterAny(number)
    with contextlib.suppress(libvirt.libvirtError):
        handle.unregisterCloseCallback()
    left: int = handle.close()
    return left


def _uri(config: HypervisorConfig) -> str:
    """The URI with the files that hold its credentials."""
    parameters = []
    if config.auth_file:
        parameters.append(f"authfile={quote(str(config.auth_file))}")
    if config.pki_path:
        parameters.append(f"pkipath={quote(str(config.pki_path))}")
    if not parameters:
        return config.uri
    return f"{config.uri}{'&' if '?' in config.uri else '?'}{'&'.join(parameters)}"
