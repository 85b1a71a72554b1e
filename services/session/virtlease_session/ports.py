"""What the service needs of a store, and what every store guarantees."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from virtlease_session.model import (
    Expected,
    Mutation,
    NewSession,
    Page,
    RequestKey,
    SessionState,
    Updated,
)


class SessionStore(Protocol):
    """Keeps sessions, each in the namespace of its owner.

    Every verb is atomic: it happens as a whole or not at all, and no other comes between. A session whose deadline
    has passed is refused at once, whether or not it was swept yet. An id of another owner is one that never was.

    A write with a RequestKey that succeeded before returns what it returned then, for ten minutes, and does nothing;
    with the same request id and another body it raises RequestIdReused.

    All verbs on an existing session raise SessionNotFound, SessionExpired or SessionEnded where they apply, and
    Conflict when the session is not as `expected`.
    """

    async def create(self, owner: str, new: NewSession, request: RequestKey | None) -> SessionState:
        """Creates a session. Raises SessionExists when the id is in use, ResourceExhausted beyond the quota."""
        ...

    async def get_or_create(self, owner: str, new: NewSession, request: RequestKey | None) -> tuple[SessionState, bool]:
        """Returns the session of that id, its deadline moved, or creates it; and whether it did."""
        ...

    async def get(
        self, owner: str, session_id: str, *, keys: Sequence[str] | None = None, touch: bool = True
    ) -> SessionState:
        """Returns a session with those of the keys that it has (all for None), and moves its deadline if `touch`."""
        ...

    async def update(
        self,
        owner: str,
        session_id: str,
        mutations: Sequence[Mutation],
        expected: Expected,
        request: RequestKey | None,
    ) -> Updated:
        """Applies all mutations in order, or none, and moves the deadline.

        Raises Conflict for a precondition that does not hold, WrongType or IncrementOverflow for a value that cannot
        be incremented or appended to, InvalidArgument when the session would become too large.
        """
        ...

    async def refresh(
        self, owner: str, session_id: str, idle_ttl: int | None, expected: Expected, request: RequestKey | None
    ) -> SessionState:
        """Moves the deadline, by a new idle TTL (in ms) if one is given. Returns the session without values."""
        ...

    async def end(self, owner: str, session_id: str, expected: Expected, request: RequestKey | None) -> int:
        """Ends a session for good. Returns when, on the wall clock in ms."""
        ...

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        """Returns the owner's live sessions that carry all labels, in an order that does not change.

        A session that lives all the while is in exactly one page.
        """
        ...
