"""The pool: waiters served in order of arrival, connections lent last in, first out.

Everything happens on one event loop, and every step leaves the sums right: each place is idle, leased, reserved (being
opened or checked) or closing. A connection is handed over by completing the waiter's future with a Loan that is
already counted as leased; whoever drops out between that moment and the next gives it back. Opening, checking and
closing are the pool's own tasks, so that a caller who goes away takes nothing along.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from virtlease_pool.core.errors import AcquireTimeout, PoolClosed, TooManyWaiting
from virtlease_pool.core.policy import Policy, Stats

__all__ = ["Connector", "Loan", "Policy", "Pool", "Stats"]

C = TypeVar("C")


class Connector(Protocol[C]):
    """How connections are had. None of these is cancelled by the pool, and each may take as long as it takes."""

    async def open(self) -> C:
        """Opens a connection, or raises what the waiting callers are to be told."""
        ...

    def usable(self, connection: C) -> bool:
        """Whether an idle connection is not known to be broken: a look at what is known, without any delay."""
        ...

    async def check(self, connection: C) -> bool:
        """Whether an idle connection still works."""
        ...

    async def close(self, connection: C) -> None:
        """Closes a connection, once whatever still runs on it has come back. Raises nothing."""
        ...


class _Slot(Generic[C]):
    """A place in the pool with an open connection."""

    __slots__ = ("connection", "idle_since", "uses")

    def __init__(self, connection: C) -> None:
        self.connection = connection
        self.idle_since = 0.0
        self.uses = 0


class Loan(Generic[C]):
    """A connection in the hands of a caller, who gives it back exactly once."""

    __slots__ = ("_pool", "_slot")

    def __init__(self, pool: "Pool[C]", slot: _Slot[C]) -> None:
        self._pool = pool
        self._slot: _Slot[C] | None = slot

    @property
    def connection(self) -> C:
        """The connection. Raises RuntimeError after it was given back."""
        if self._slot is None:
            raise RuntimeError("the connection was given back")
        return self._slot.connection

    def give_back(self, discard: str = "") -> None:
        """Gives the connection back; with a reason to discard it, it is closed. Raises RuntimeError the second time."""
        slot, self._slot = self._slot, None
        if slot is None:
            raise RuntimeError("the connection was given back")
        self._pool._take_back(slot, discard)


class _Waiter(Generic[C]):
    __slots__ = ("future", "since")

    def __init__(self, future: "asyncio.Future[Loan[C]]", since: float) -> None:
        self.future = future
        self.since = since


class Pool(Generic[C]):
    """Connections to one place. Belongs to the event loop it is first used on."""

    def __init__(self, name: str, connector: Connector[C], policy: Policy) -> None:
        self.name = name
        self._connector = connector
        self._policy = policy
        self._idle: deque[_Slot[C]] = deque()
        self._waiters: deque[_Waiter[C]] = deque()
        self._stats = Stats()
        self._checking = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def acquire(self, timeout: float) -> Loan[C]:
        """Lends a connection, waiting in line for at most `timeout` seconds.

        Raises AcquireTimeout, TooManyWaiting, PoolClosed, or what the connector raised when it could not connect.
        """
        if self._closed:
            raise PoolClosed(self.name)
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._idle and not self._stats.waiting and not self._is_stale(self._idle[-1], now):
            return self._lend(self._idle.pop())
        if self._stats.waiting >= self._policy.max_waiting:
            raise TooManyWaiting(self.name, self._stats.waiting)
        waiter = _Waiter[C](loop.create_future(), now)
        self._waiters.append(waiter)
        self._stats.waiting += 1
        self._serve_waiters()
        timer = loop.call_at(now + timeout, self._expire, waiter, timeout)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.cancelled():
                self._leave(waiter)
            elif waiter.future.exception() is None:
                waiter.future.result().give_back()  # granted in the moment in which the caller went away
            raise
        finally:
            timer.cancel()

    def stats(self) -> Stats:
        """A copy of the figures of this moment."""
        stats = replace(self._stats, idle=len(self._idle), closed=dict(self._stats.closed))
        self._drop_absent()
        if self._waiters:
            stats.oldest_wait = asyncio.get_running_loop().time() - self._waiters[0].since
        return stats

    async def maintain(self) -> None:
        """Closes connections that are idle for too long. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._policy.idle_ttl / 2))
            now = asyncio.get_running_loop().time()
            # The longest idle stands first.
            while self._idle and now - self._idle[0].idle_since >= self._policy.idle_ttl:
                self._close(self._idle.popleft(), "idle")

    async def close(self) -> None:
        """Refuses new callers and those that wait, closes what is idle, and waits until everything is closed.

        Loans are not called back: their holders give them back before.
        """
        self._closed = True
        self._fail_waiters(PoolClosed(self.name))
        while self._idle:
            self._close(self._idle.popleft(), "drained")
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _lend(self, slot: _Slot[C]) -> Loan[C]:
        slot.uses += 1
        self._stats.leased += 1
        self._stats.acquired += 1
        return Loan(self, slot)

    def _take_back(self, slot: _Slot[C], discard: str) -> None:
        self._stats.leased -= 1
        if not discard and slot.uses >= self._policy.max_usage:
            discard = "usage"
        if discard:
            self._close(slot, discard)
        else:
            self._offer(slot)

    def _offer(self, slot: _Slot[C]) -> None:
        """Hands a working connection to the first waiter, or keeps it idle."""
        if self._closed:
            self._close(slot, "drained")
            return
        self._drop_absent()
        if self._waiters:
            self._stats.waiting -= 1
            self._waiters.popleft().future.set_result(self._lend(slot))
        else:
            slot.idle_since = asyncio.get_running_loop().time()
            self._idle.append(slot)

    def _serve_waiters(self) -> None:
        """Checks idle connections and opens new ones, as many as there are waiters that none is under way for."""
        now = asyncio.get_running_loop().time()
        while self._stats.waiting > self._stats.reserved:
            self._drop_absent()
            if not self._waiters:
                return
            if self._idle:
                slot = self._idle.pop()
                if self._is_stale(slot, now):
                    self._stats.reserved += 1
                    self._start(self._check(slot))
                else:
                    self._offer(slot)
            elif self._size() < self._policy.max_size and not self._closed:
                self._stats.reserved += 1
                self._start(self._open())
            else:
                return

    async def _open(self) -> None:
        try:
            connection = await self._connector.open()
        except Exception as error:
            self._stats.reserved -= 1
            self._stats.connect_failures += 1
            # All of them: each would find out the same, one after the other.
            self._fail_waiters(error)
            return
        self._stats.reserved -= 1
        self._stats.opened += 1
        self._offer(_Slot(connection))

    async def _check(self, slot: _Slot[C]) -> None:
        self._checking += 1
        try:
            works = await self._connector.check(slot.connection)
        except Exception:
            works = False
        self._checking -= 1
        self._stats.reserved -= 1
        if works:
            self._offer(slot)
        else:
            self._close(slot, "broken")
            self._serve_waiters()

    def _close(self, slot: _Slot[C], reason: str) -> None:
        self._stats.closing += 1
        self._stats.closed[reason] = self._stats.closed.get(reason, 0) + 1
        self._start(self._finish_closing(slot))

    async def _finish_closing(self, slot: _Slot[C]) -> None:
        try:
            await self._connector.close(slot.connection)
        finally:
            self._stats.closing -= 1
            self._serve_waiters()

    def _expire(self, waiter: _Waiter[C], timeout: float) -> None:
        if waiter.future.done():
            return
        phase = self._phase(waiter)
        self._leave(waiter)
        self._stats.timeouts += 1
        waiter.future.set_exception(AcquireTimeout(self.name, phase, timeout))

    def _phase(self, waiter: _Waiter[C]) -> str:
        """What a waiter waits for: the first ones for what is being opened or checked, the others for their turn."""
        if self._waiters.index(waiter) >= self._stats.reserved:
            return "wait"
        return "validate" if self._checking == self._stats.reserved else "connect"

    def _leave(self, waiter: _Waiter[C]) -> None:
        self._stats.waiting -= 1
        with contextlib.suppress(ValueError):  # it may have come to the head of the line and been dropped
            self._waiters.remove(waiter)

    def _fail_waiters(self, error: Exception) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.future.done():
                self._stats.waiting -= 1
                waiter.future.set_exception(error)

    def _drop_absent(self) -> None:
        """Takes waiters off the head of the line whose tasks were cancelled and have not run since."""
        while self._waiters and self._waiters[0].future.done():
            self._waiters.popleft()

    def _is_stale(self, slot: _Slot[C], now: float) -> bool:
        return now - slot.idle_since > self._policy.check_after or not self._connector.usable(slot.connection)

    def _size(self) -> int:
        stats = self._stats
        return len(self._idle) + stats.leased + stats.reserved + stats.closing

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
