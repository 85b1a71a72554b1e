"""What passes between a pool, its connector and its callers."""

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from virtlease_pool.core.pool import Pool

C = TypeVar("C")


class Connector(Protocol[C]):
    """How connections are had. None of these is cancelled by the pool, and each may take as long as it takes."""

    async def open(self) -> C:
        """Opens a connection. Raises what the waiting callers are to be told, or NoRoom."""
        ...

    def fault(self, connection: C) -> str:
        """Why a connection must not be lent any more, empty if it may: a look at what is known, without any delay."""
        ...

    async def check(self, connection: C) -> bool:
        """Whether an idle connection still works."""
        ...

    async def close(self, connection: C) -> None:
        """Closes a connection, once whatever still runs on it has come back. Raises nothing."""
        ...


class Slot(Generic[C]):
    """A place in the pool with an open connection. Times are on the clock of the event loop, in seconds."""

    __slots__ = ("connection", "expires_at", "generation", "good_at", "idle_since", "uses")

    def __init__(self, connection: C, generation: int, now: float, expires_at: float) -> None:
        self.connection = connection
        self.generation = generation
        self.expires_at = expires_at
        self.good_at = now
        """When it was last known to work."""
        self.idle_since = now
        self.uses = 0


class Loan(Generic[C]):
    """A connection in the hands of a caller, who gives it back exactly once."""

    __slots__ = ("_pool", "_slot", "borrower", "since")

    def __init__(self, pool: "Pool[C]", slot: Slot[C], since: float, borrower: str) -> None:
        self._pool = pool
        self._slot: Slot[C] | None = slot
        self.since = since
        """On the clock of the event loop, in seconds."""
        self.borrower = borrower
        """Who has it, for the report of leaks."""

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
        self._pool._take_back(self, slot, discard)
