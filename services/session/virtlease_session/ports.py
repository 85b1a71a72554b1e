"""What the service needs of a store, and what every store guarantees."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from virtlease_chassis.errors import DomainError
from virtlease_session.model import Answer, Event, Page, Verb
from virtlease_session.tally import Tally


class Watcher(Protocol):
    """Follows the changes of one owner's sessions."""

    @property
    def token(self) -> str:
        """Stands for everything that `events` has returned; a later watch goes on from it."""
        ...

    async def events(self, wait: float) -> list[Event]:
        """The next changes, those of each session in order; none after `wait` seconds without any.

        Raises WatcherTooSlow when changes were dropped before they were asked for.
        """
        ...

    def close(self) -> None:
        """Ends the watch."""
        ...


class SessionStore(Protocol):
    """Keeps sessions, each in the namespace of its owner.

    Every verb is atomic: it happens as a whole or not at all, and no other comes between. A session whose deadline
    has passed is refused at once, whether or not it was swept yet. An id of another owner is one that never was.

    A write with a RequestKey that succeeded before answers what it answered then, for ten minutes, and does nothing;
    with the same request id and another body it fails with RequestIdReused.

    All verbs on an existing session fail with SessionNotFound, SessionExpired or SessionEnded where they apply, and
    with Conflict when the session is not as `expected`. Unavailable says that the store cannot be reached; a write
    may then have had its effect.
    """

    @property
    def tally(self) -> Tally:
        """Counts of what became of sessions."""
        ...

    async def execute(self, verbs: Sequence[Verb]) -> list[Answer | DomainError]:
        """Carries out verbs and answers each by itself: a batch is not atomic.

        Verbs on one session take effect in the order of the batch, and of calls of this method. A write is answered
        when it is as durable as the store makes it.
        """
        ...

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        """Returns the owner's live sessions that carry all labels, in an order that does not change.

        A session that lives all the while is in exactly one page.
        """
        ...

    async def watch(self, owner: str, token: str) -> Watcher:
        """Follows an owner's changes from a token on, or from now on for an empty one.

        Raises Compacted for a token that is too old, InvalidArgument for one that never was.
        """
        ...
