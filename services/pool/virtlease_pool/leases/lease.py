"""One lease."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from virtlease_pool.core import Loan
from virtlease_pool.errors import LeaseBusy
from virtlease_pool.leases.holder import Holder
from virtlease_pool.ports import Connection

T = TypeVar("T")

MOST_WAITING = 16


@dataclass(frozen=True, slots=True)
class Terms:
    """What a lease was asked for. Times are in seconds."""

    owner: str
    hypervisor: str
    vm_id: str
    ttl: float
    holder_id: str
    purpose: str = ""
    peer: str = ""
    trace_id: str = ""


class Lease:
    """A connection that belongs to a holder until it is given back or not renewed in time.

    Calls on it run one after the other, in order of arrival. A call counts as use for as long as somebody waits for it.
    """

    def __init__(
        self, lease_id: str, ref: str, terms: Terms, loan: Loan[Connection], holder: Holder, acquired_at: int
    ) -> None:
        """`acquired_at` is the wall clock in ms."""
        self.lease_id = lease_id
        self.ref = ref
        self.terms = terms
        self.holder = holder
        self.acquired_at = acquired_at
        self.bucket = 0
        """Where it is filed by its deadline."""
        self.ttl = terms.ttl
        self.deadline = 0.0
        """Until when its own use and renewals keep it, on the clock of the event loop, in seconds."""
        self.used_at = 0.0
        """When a call last ended on it, on the same clock; 0 when none has."""
        self._loan = loan
        self._turn = asyncio.Lock()
        self._calls = 0
        self.calls_made = 0
        self.running = ""
        """The call that has its turn, by name."""
        self.over: Exception | None = None
        """What calls are told once the lease has ended."""
        self.touch()

    @property
    def in_use(self) -> bool:
        """Whether somebody waits for a call on it."""
        return self._calls > 0

    @property
    def idle_seconds(self) -> float:
        """How long ago a call last ended on it."""
        return asyncio.get_running_loop().time() - self.used_at

    @property
    def ends_at(self) -> float:
        """When it ends, if neither it nor its holder shows a sign of life before."""
        return max(self.deadline, self.holder.deadline)

    @property
    def seconds_left(self) -> float:
        """How long it lives without a sign of life."""
        return self.ends_at - asyncio.get_running_loop().time()

    def touch(self) -> None:
        """Starts the time to live anew."""
        self.deadline = asyncio.get_running_loop().time() + self.ttl

    def renew(self, ttl: float | None) -> None:
        """Starts the time to live anew, with another one if it is given in seconds."""
        if ttl is not None:
            self.ttl = ttl
        self.touch()

    @contextlib.asynccontextmanager
    async def turn(self, what: str) -> AsyncIterator[None]:
        """Waits for the caller's turn to use the connection. `what` is shown to operators. Raises LeaseBusy."""
        if self._calls > MOST_WAITING:
            raise LeaseBusy(self.ref, MOST_WAITING)
        self._calls += 1
        try:
            async with self._turn:
                self.calls_made += 1
                self.running = what
                yield
        finally:
            self.running = ""
            self._calls -= 1
            self.used_at = asyncio.get_running_loop().time()
            if self.over is None:
                self.touch()

    async def run(self, call: Callable[[Any], T]) -> T:
        """Runs a call on the connection, in the caller's turn. Raises what the lease ended with, if it has."""
        if self.over is None:
            await self._loan.connection.quiet()  # a call whose caller has gone may still run
        # Nothing is awaited between this look and the call: what has ended never reaches libvirt.
        if self.over is not None:
            raise self.over.with_traceback(None)  # else it grows with every call that is told
        return await self._loan.connection.run(call)

    def end(self, error: Exception, discard: str) -> None:
        """Refuses all further calls with the error and gives the connection back, to be closed with a reason."""
        self.over = error
        self._loan.give_back(discard)
