"""The line of those who wait for a connection, in order of arrival, and when each of them gives up."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_NEVER = float("inf")


class Waiter(Generic[T]):
    """Somebody in the line. Times are on the clock of the event loop, in seconds."""

    __slots__ = ("borrower", "deadline", "future", "since")

    def __init__(self, future: "asyncio.Future[T]", since: float, deadline: float, borrower: str) -> None:
        self.future = future
        self.since = since
        self.deadline = deadline
        self.borrower = borrower


class Line(Generic[T]):
    """Waiters whose tasks were cancelled stand in it until those tasks have run; they are passed over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[int, Waiter[T]], Exception]) -> None:
        """`late` makes what a waiter is told whose time is up, from their position and themselves."""
        self._loop = loop
        self._late = late
        self._waiters: deque[Waiter[T]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self.waiting = 0
        """How many wait; those count whose tasks were cancelled and have not run since."""
        self.timeouts = 0
        """How many gave up, ever."""

    def join(self, now: float, timeout: float, borrower: str) -> Waiter[T]:
        """Puts a waiter at the end."""
        waiter = Waiter[T](self._loop.create_future(), now, now + timeout, borrower)
        self._waiters.append(waiter)
        self.waiting += 1
        if waiter.deadline < self._timer_at:
            self._set_timer(waiter.deadline)
        return waiter

    def first(self) -> Waiter[T] | None:
        """Who is next, without taking them out."""
        waiters = self._waiters
        while waiters:
            if not waiters[0].future.done():
                return waiters[0]
            waiters.popleft()
        return None

    def take_first(self) -> Waiter[T]:
        """Takes out the one that `first` has just returned; they are to be answered at once."""
        self.waiting -= 1
        return self._waiters.popleft()

    def leave(self, waiter: Waiter[T]) -> None:
        """Takes out a waiter whose task was cancelled."""
        self.waiting -= 1
        with contextlib.suppress(ValueError):  # they may have come to the head of the line and been passed over
            self._waiters.remove(waiter)

    def fail_all(self, error: Exception) -> int:
        """Tells everybody the same, and returns how many they were."""
        waiters, self._waiters = self._waiters, deque()
        told = [waiter for waiter in waiters if not waiter.future.done()]
        for waiter in told:
            waiter.future.set_exception(error)
        self.waiting -= len(told)
        return len(told)

    def close(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, at: float) -> None:
        """One timer serves all: it goes off for the first deadline, and is set again for the next."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        now = self._loop.time() + 0.001  # a loop may be as much too early
        live = [waiter for waiter in self._waiters if not waiter.future.done()]
        for position, waiter in enumerate(live):
            if waiter.deadline <= now:
                waiter.future.set_exception(self._late(position, waiter))
                self.waiting -= 1
                self.timeouts += 1
        self._waiters = deque(waiter for waiter in live if not waiter.future.done())
        if self._waiters:
            self._set_timer(min(waiter.deadline for waiter in self._waiters))
