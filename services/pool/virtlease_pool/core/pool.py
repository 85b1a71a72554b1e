"""The pool: waiters served in order of arrival, connections lent last in, first out.

Everything happens on one event loop, and every step leaves the sums right: each place is idle, leased, reserved (being
opened or checked) or closing. A connection is handed over by completing the waiter's future with a Loan that is
already counted as leased; whoever drops out between that moment and the next gives it back. Opening, checking and
closing are the pool's own tasks, so that a caller who goes away takes nothing along.
"""

import asyncio
import bisect
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, TypeVar

from virtlease_pool.core.breaker import Breaker
from virtlease_pool.core.errors import (
    AcquireTimeout,
    ConnectTimeout,
    NoRoom,
    PoolClosed,
    PoolDraining,
    TooManyWaiting,
)
from virtlease_pool.core.line import Line, Waiter
from virtlease_pool.core.loan import Connector, Loan, Slot
from virtlease_pool.core.observer import Observer
from virtlease_pool.core.policy import Mode, Policy, Stats

C = TypeVar("C")
Tell = Callable[[str, str], None]
log = logging.getLogger(__name__)

_LIFETIME_JITTER = 0.1
_NO_ROOM_SECONDS = 0.25

# A sweep closes no more than this: the others are as old a second later.
_MOST_CLOSED_IN_A_SWEEP = 16


class _Reservation:
    """A place that is being filled or checked. It is counted until the block is left, however it is left."""

    __slots__ = ("_counts", "phase")

    def __init__(self, counts: dict[str, int], phase: str) -> None:
        self._counts = counts
        self.phase = phase
        counts[phase] += 1

    def is_late(self) -> None:
        """No waiter is to count on it any more."""
        self._counts[self.phase] -= 1
        self.phase = "late"
        self._counts["late"] += 1

    def __enter__(self) -> "_Reservation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._counts[self.phase] -= 1


class Pool(Generic[C]):
    """Connections to one place. Belongs to the event loop on which it is made."""

    def __init__(
        self,
        name: str,
        connector: Connector[C],
        policy: Policy,
        tell: Tell = lambda _event, _detail: None,
        observer: Observer | None = None,
    ) -> None:
        """
        Args:
            name: what errors call it.
            connector: how connections are had.
            policy: how it behaves.
            tell: called with what happens: opened, closed, failing, working and mode, each with a detail.
            observer: is told how long things take.
        """
        self._observer = observer
        self.name = name
        self._connector = connector
        self._policy = policy
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._idle: deque[Slot[C]] = deque()  # the longest idle first
        self._line: Line[Loan[C]] = Line(self._loop, self._timed_out)
        self._loans: set[Loan[C]] = set()
        self._reported: set[Loan[C]] = set()
        self._reserved = {"connect": 0, "validate": 0, "late": 0}
        self._closing = 0
        self._stats = Stats()
        self._mode = Mode.ACTIVE
        self._generation = 0
        self._breaker = Breaker(policy.retry_first, policy.retry_last)
        self._tripped: Exception | None = None
        self._closed = False
        self._ready = True  # active, not tripped and not closed
        self._shrunk = False  # there may be more than max_size
        self._here = True
        self._plain = True  # a connection that nobody waits for is kept, whichever it is
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def acquire(self, timeout: float, borrower: str = "") -> Loan[C]:
        """Lends a connection, waiting in line for at most `timeout` seconds.

        Raises AcquireTimeout, TooManyWaiting, PoolDraining, PoolClosed, or what the connector raised when it could not
        connect. `borrower` says in reports who has it.
        """
        self._stats.requested += 1
        now = self._time()
        if self._idle and self._ready and not self._line.waiting:
            slot = self._idle[-1]
            if now - slot.good_at <= self._policy.check_after and not self._connector.fault(slot.connection):
                self._stats.at_once += 1
                if self._observer is not None:
                    self._observer.waited(0.0)
                return self._lend(self._idle.pop(), now, borrower)
        if (refusal := self._refusal()) is not None:
            self._stats.refused += 1
            raise refusal
        waiter = self._line.join(now, timeout, borrower)
        self._serve_waiters()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.cancelled():
                self._stats.abandoned += 1
                self._line.leave(waiter)
            elif waiter.future.exception() is None:
                waiter.future.result().give_back()  # granted in the moment in which the caller went away
            raise

    def stats(self) -> Stats:
        """A copy of the figures of this moment."""
        first = self._line.first()
        return replace(
            self._stats,
            mode=self._mode,
            idle=len(self._idle),
            leased=len(self._loans),
            reserved=sum(self._reserved.values()),
            closing=self._closing,
            waiting=self._line.waiting,
            timeouts=self._line.timeouts,
            oldest_wait=self._time() - first.since if first else 0.0,
            generation=self._generation,
            failing=self._tripped is not None or self._breaker.error is not None,
            closed=dict(self._stats.closed),
        )

    def loans(self) -> Iterator[Loan[C]]:
        """The loans that are out."""
        return iter(self._loans)

    def pause(self) -> None:
        """Lets callers wait until the pool is resumed."""
        self._set_mode(Mode.PAUSED)

    def resume(self) -> None:
        """Hands out connections again."""
        self._set_mode(Mode.ACTIVE)
        self._serve_waiters()

    def drain(self) -> None:
        """Refuses callers, those included that wait, and closes connections as they become free."""
        self._set_mode(Mode.DRAINING)
        self._fail_waiters(PoolDraining(self.name))
        self._close_idle("drained")

    def recycle(self) -> None:
        """Replaces all connections: free ones at once, the others when they are given back."""
        self._generation += 1
        self._tell("mode", f"recycled, generation {self._generation}")
        self._close_idle("recycled")

    def settle(self, *, here: bool) -> None:
        """Whether connections are kept for later. Elsewhere none is: each is closed as soon as it is free."""
        self._here = here
        self._set_ready()
        if not here:
            self._close_idle("moved")

    def trip(self, error: Exception) -> None:
        """Refuses callers with this error until `recover`: somebody else knows that the place cannot be worked with."""
        if self._tripped is None:
            self._tell("failing", str(error))
        self._tripped = error.with_traceback(None)
        self._set_ready()
        self._fail_waiters(self._tripped)

    def recover(self) -> None:
        """The place can be worked with again."""
        if self._tripped is None and self._breaker.error is None:
            return
        self._tripped = None
        self._set_ready()
        self._worked()
        self._serve_waiters()

    def change_policy(self, policy: Policy) -> None:
        """Behaves otherwise from now on. Connections beyond a lower max_size are closed as they become free."""
        self._policy = policy
        for _ in range(min(len(self._idle), self._size() - policy.max_size)):
            self._close(self._idle.popleft(), "shrunk")
        self._shrunk = self._size() > policy.max_size
        self._set_ready()
        self._serve_waiters()

    async def close(self) -> None:
        """Refuses new callers and those that wait, closes what is idle, and waits until everything is closed.

        Loans are not called back: their holders give them back before.
        """
        self._closed = True
        self._set_ready()
        self._fail_waiters(PoolClosed(self.name))
        self._cancel_retry()
        self._line.close()
        self._close_idle("drained")
        while self._tasks:
            await asyncio.wait(self._tasks)

    def sweep(self) -> int:
        """Closes idle connections that are too old, checks one, opens what is missing, reports loans that are out long.

        Bounded work without a pause; to be called every second or so. Returns how much there was to do.
        """
        if self._closed:
            return 0
        now = self._time()
        done = self._close_old(now) + self._check_one(now) + self._fill()
        self._report_loans(now)
        return done

    def _lend(self, slot: Slot[C], now: float, borrower: str) -> Loan[C]:
        slot.uses += 1
        loan = Loan(self, slot, now, borrower)
        self._loans.add(loan)
        return loan

    def _take_back(self, loan: Loan[C], slot: Slot[C], discard: str) -> None:
        self._loans.remove(loan)
        if self._observer is not None:
            self._observer.used(self._time() - loan.since)
        if self._reported and loan in self._reported:
            self._reported.remove(loan)
            log.info("the connection to %s that %s had for long was given back", self.name, loan.borrower or "somebody")
        if discard or (discard := self._connector.fault(slot.connection)):
            self._close(slot, discard)
            return
        slot.good_at = slot.idle_since = now = self._time()
        if slot.uses >= self._policy.max_usage:
            self._close(slot, "usage")
        elif now >= slot.expires_at:
            self._close(slot, "lifetime")
        elif self._plain and not self._line.waiting and slot.generation == self._generation:
            self._idle.append(slot)  # what `_offer` would come to, without its questions
        else:
            self._offer(slot, now)

    def _offer(self, slot: Slot[C], now: float) -> None:
        """Hands a working connection to the first waiter, or keeps it idle."""
        if slot.generation != self._generation:
            self._close(slot, "recycled")
        elif self._closed or self._mode is Mode.DRAINING:
            self._close(slot, "drained")
        elif self._shrunk and self._size() >= self._policy.max_size:  # this one is in none of the sums now
            self._close(slot, "shrunk")
        elif self._line.waiting and self._ready and self._line.first() is not None:
            self._hand_over(slot, now)
        else:
            self._keep(slot)

    def _hand_over(self, slot: Slot[C], now: float) -> None:
        waiter = self._line.take_first()
        self._stats.waited += 1
        if self._observer is not None:
            self._observer.waited(now - waiter.since)
        waiter.future.set_result(self._lend(slot, now, waiter.borrower))

    def _keep(self, slot: Slot[C]) -> None:
        if not self._here:
            self._close(slot, "moved")
        elif self._idle and self._idle[-1].idle_since > slot.idle_since:
            bisect.insort(self._idle, slot, key=lambda each: each.idle_since)  # it was checked where it stood
        else:
            self._idle.append(slot)

    def _serve_waiters(self) -> None:
        """Checks idle connections and opens new ones, as many as there are waiters that none is under way for."""
        if not self._ready:
            return
        while self._line.waiting > self._under_way() and self._line.first() is not None:
            if self._idle:
                slot = self._idle.pop()
                now = self._time()
                if fault := self._connector.fault(slot.connection):
                    self._close(slot, fault)
                elif now - slot.good_at > self._policy.check_after:
                    self._start(self._check(slot, _Reservation(self._reserved, "validate")))
                else:
                    self._hand_over(slot, now)
            elif self._may_open():
                self._open_one()
            elif self._breaker.error is not None:
                self._fail_waiters(self._breaker.error)
            else:
                return

    def _under_way(self) -> int:
        return self._reserved["connect"] + self._reserved["validate"]

    def _may_open(self) -> bool:
        return (
            self._size() < self._policy.max_size
            and self._reserved["connect"] < self._policy.max_opening
            and self._breaker.error is None
            and self._retry is None
        )

    def _open_one(self, *, probe: bool = False) -> None:
        self._start(self._open(_Reservation(self._reserved, "connect"), self._generation, probe))

    async def _open(self, reservation: _Reservation, generation: int, probe: bool) -> None:
        failure: Exception | None = None
        started = self._time()
        with reservation:
            opening = asyncio.ensure_future(self._connector.open())
            done, _ = await asyncio.wait((opening,), timeout=self._policy.connect_timeout)
            if not done:
                reservation.is_late()
                self._failed(ConnectTimeout(self.name, self._policy.connect_timeout), probe)
            try:
                connection = await opening
            except Exception as error:
                failure = error
        if failure is None:
            if self._observer is not None:
                self._observer.created(self._time() - started)
            self._opened(connection, generation)
        elif isinstance(failure, NoRoom):
            self._try_again_in(_NO_ROOM_SECONDS * random.uniform(0.5, 1.0), self._serve_after_retry)
        elif reservation.phase != "late":
            self._failed(failure, probe)
        self._serve_waiters()

    def _opened(self, connection: C, generation: int) -> None:
        now = self._time()
        self._stats.opened += 1
        self._tell("opened", "")
        self._worked()
        lifetime = self._policy.max_lifetime * random.uniform(1 - _LIFETIME_JITTER, 1)
        self._offer(Slot(connection, generation, now, now + lifetime), now)

    def _failed(self, error: Exception, probe: bool) -> None:
        """An attempt to connect failed: everybody is told, and one attempt is made later."""
        self._stats.connect_failures += 1
        if self._breaker.error is None:
            self._tell("failing", str(error))
        elif not probe:
            return  # it was under way when another one failed
        delay = self._breaker.failed(error)
        # All of them: each would find out the same, one after the other.
        self._fail_waiters(error)
        self._try_again_in(delay, self._probe)

    def _worked(self) -> None:
        if self._breaker.error is not None:
            self._tell("working", "")
        self._breaker.worked()
        self._cancel_retry()

    def _probe(self) -> None:
        self._retry = None
        if self._closed or self._breaker.error is None:
            return
        if self._ready and self._size() < self._policy.max_size and not self._reserved["connect"]:
            self._open_one(probe=True)
        else:  # there is no place for it, or another attempt is under way
            self._try_again_in(self._policy.retry_first, self._probe)

    def _serve_after_retry(self) -> None:
        self._retry = None
        self._serve_waiters()

    def _try_again_in(self, seconds: float, what: Callable[[], None]) -> None:
        self._cancel_retry()
        if not self._closed:
            self._retry = self._loop.call_later(seconds, what)

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _check(self, slot: Slot[C], reservation: _Reservation) -> None:
        with reservation:
            checking = asyncio.ensure_future(self._connector.check(slot.connection))
            # One that hangs is not waited for: closing it is what waits.
            await asyncio.wait((checking,), timeout=self._policy.check_timeout)
            works = checking.done() and not checking.exception() and checking.result()
        if works:
            slot.good_at = now = self._time()
            self._offer(slot, now)
        else:
            self._close(slot, "broken")
            checking.add_done_callback(_retrieve)
        self._serve_waiters()

    def _close(self, slot: Slot[C], reason: str) -> None:
        self._closing += 1
        self._stats.closed[reason] = self._stats.closed.get(reason, 0) + 1
        self._tell("closed", reason)
        self._start(self._finish_closing(slot))

    async def _finish_closing(self, slot: Slot[C]) -> None:
        try:
            await self._connector.close(slot.connection)
        finally:
            self._closing -= 1
            self._serve_waiters()

    def _close_idle(self, reason: str) -> None:
        while self._idle:
            self._close(self._idle.popleft(), reason)

    def _close_old(self, now: float) -> int:
        kept: deque[Slot[C]] = deque()
        closed = 0
        surplus = len(self._idle) - self._policy.min_idle
        for slot in self._idle:
            reason = self._too_old(slot, now, surplus=closed < surplus)
            if reason and closed < _MOST_CLOSED_IN_A_SWEEP:
                self._close(slot, reason)
                closed += 1
            else:
                kept.append(slot)
        if closed:
            self._idle = kept
        return closed

    def _too_old(self, slot: Slot[C], now: float, *, surplus: bool) -> str:
        if fault := self._connector.fault(slot.connection):
            return fault
        if now >= slot.expires_at:
            return "lifetime"
        if surplus and now - slot.idle_since >= self._policy.idle_ttl:
            return "idle"
        return ""

    def _check_one(self, now: float) -> int:
        """Checks the idle connection that has not answered for the longest, if it is time."""
        if not self._idle or self._reserved["validate"]:
            return 0
        slot = min(self._idle, key=lambda each: each.good_at)
        if now - slot.good_at < self._policy.keepalive:
            return 0
        self._idle.remove(slot)
        self._start(self._check(slot, _Reservation(self._reserved, "validate")))
        return 1

    def _fill(self) -> int:
        """Opens a connection when fewer than `min_idle` are at hand."""
        at_hand = len(self._idle) + self._under_way() - self._line.waiting
        if not self._ready or not self._here or at_hand >= self._policy.min_idle or not self._may_open():
            return 0
        self._open_one()
        return 1

    def _report_loans(self, now: float) -> None:
        for loan in self._loans:
            if now - loan.since >= self._policy.leak_after and loan not in self._reported:
                self._reported.add(loan)
                who = loan.borrower or "somebody"
                log.warning("a connection to %s is out for %d s; %s has it", self.name, now - loan.since, who)

    def _refusal(self) -> Exception | None:
        """Why a caller who would have to wait is not kept waiting, if they are not."""
        if self._closed:
            return PoolClosed(self.name)
        if self._mode is Mode.DRAINING:
            return PoolDraining(self.name)
        if self._tripped is not None:
            return self._tripped.with_traceback(None)
        if self._breaker.error is not None and not self._idle:
            return self._breaker.error.with_traceback(None)
        if self._line.waiting >= self._policy.max_waiting:
            return TooManyWaiting(self.name, self._line.waiting)
        return None

    def _set_mode(self, mode: Mode) -> None:
        self._mode = mode
        self._set_ready()
        self._tell("mode", mode.value)

    def _set_ready(self) -> None:
        self._ready = self._mode is Mode.ACTIVE and self._tripped is None and not self._closed
        self._plain = self._ready and self._here and not self._shrunk

    def _timed_out(self, position: int, waiter: Waiter[Loan[C]]) -> Exception:
        timeout = waiter.deadline - waiter.since
        return AcquireTimeout(self.name, self._phase(position), timeout, paused=self._mode is Mode.PAUSED)

    def _phase(self, position: int) -> str:
        """What a waiter waits for: the first ones for what is being opened or checked, the others for their turn."""
        if position >= self._under_way() or not self._ready:
            return "wait"
        return "connect" if self._reserved["connect"] else "validate"

    def _fail_waiters(self, error: Exception) -> None:
        self._stats.refused += self._line.fail_all(error)

    def _size(self) -> int:
        return len(self._idle) + len(self._loans) + sum(self._reserved.values()) + self._closing

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _retrieve(task: "asyncio.Future[bool]") -> None:
    """Nobody waits for it any more, and an error is no surprise."""
    if not task.cancelled():
        task.exception()
