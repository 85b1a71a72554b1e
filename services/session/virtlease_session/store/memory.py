"""The memory store: the engine, and nothing that outlives the process."""

from collections.abc import Mapping, Sequence

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import DomainError
from virtlease_chassis.request_log import Entry
from virtlease_session.engine import Engine
from virtlease_session.engine.record import Record
from virtlease_session.limits import Limits
from virtlease_session.model import Answer, Event, EventType, Page, Verb
from virtlease_session.ports import Watcher
from virtlease_session.store.event_hub import EventHub
from virtlease_session.store.maintenance import maintain
from virtlease_session.tally import Tally


class MemoryStore:
    """See `ports.SessionStore`. One process only: another one would have other sessions."""

    def __init__(self, clock: Clock, limits: Limits, watch_history: int) -> None:
        self._clock = clock
        self._hub = EventHub(watch_history)
        self.engine = Engine(clock, limits)

    @property
    def tally(self) -> Tally:
        return self.engine.tally

    async def execute(self, verbs: Sequence[Verb]) -> list[Answer | DomainError]:
        return self.engine.execute(verbs)

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        return self.engine.list(owner, labels, limit, after)

    async def watch(self, owner: str, token: str) -> Watcher:
        self.engine.journal = self  # until somebody watches, nobody need be told
        return self._hub.watch(owner, token)

    async def maintain(self, cleanup_interval: float) -> None:
        """Sweeps and purges until it is cancelled."""
        await maintain(lambda: self.engine, cleanup_interval)

    def changed(self, kind: EventType, record: Record, keys: tuple[str, ...]) -> None:
        """See `engine.Journal`."""
        if self._hub.watches(record.owner):
            self._hub.publish(to_event(kind, record, keys, self._clock.wall()))

    def touched(self, record: Record) -> None:
        """See `engine.Journal`."""

    def remembered(self, owner: str, key: str, entry: Entry) -> None:
        """See `engine.Journal`."""


def to_event(kind: EventType, record: Record, keys: tuple[str, ...], wall: int) -> Event:
    """A change of a record as watchers are told of it."""
    return Event(kind, record.owner, record.session_id, record.etag, wall, record.labels, keys)
