"""The verbs on sessions, each one step that nothing can come between."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from sys import intern
from typing import Any, Protocol

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import DomainError
from virtlease_chassis.request_log import Entry, RequestLog, ReusedRequestId, stable_hash
from virtlease_session.engine.expiry import ExpiryBuckets
from virtlease_session.engine.mutate import Draft
from virtlease_session.engine.record import Record
from virtlease_session.engine.sharded import ShardedMap
from virtlease_session.engine.tombstones import Tombstone, Tombstones
from virtlease_session.errors import Conflict, RequestIdReused, SessionExists
from virtlease_session.limits import Limits, session_size
from virtlease_session.model import (
    Answer,
    Create,
    End,
    Ended,
    EventType,
    Expected,
    Found,
    Get,
    GetOrCreate,
    NewSession,
    Page,
    Refresh,
    RequestKey,
    SessionState,
    Update,
    Updated,
    Verb,
)
from virtlease_session.session_id import mint
from virtlease_session.tally import Tally

Write = Create | GetOrCreate | Update | Refresh | End


class Journal(Protocol):
    """Is told of everything that an engine does, right after it."""

    def changed(self, kind: EventType, record: Record, keys: tuple[str, ...]) -> None:
        """Something happened to a session; `keys` are those whose values changed."""

    def touched(self, record: Record) -> None:
        """A session's deadline moved, and nothing else happened to it."""

    def remembered(self, owner: str, key: str, entry: Entry) -> None:
        """A request came to something."""


class Engine:
    """Sessions by owner and id. Synchronous and without I/O: a verb runs to its end before the next begins."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._now = 0
        self._wall = 0
        self.journal: Journal | None = None
        self._owners: dict[str, ShardedMap[Record]] = {}
        self._expiry = ExpiryBuckets()
        self._tombstones = Tombstones()
        self._requests = RequestLog()
        self._tally = Tally()
        self._verbs: dict[type[Any], Callable[[Any], Answer]] = {
            Create: self._create,
            GetOrCreate: self._get_or_create,
            Get: self._get,
            Update: self._update,
            Refresh: self._refresh,
            End: self._end,
        }

    def execute(self, verbs: Sequence[Verb]) -> "list[Answer | DomainError]":
        """Carries out verbs, one after the other, all at the time at which the first begins."""
        self._tick()
        answers: list[Answer | DomainError] = []
        for verb in verbs:
            try:
                answers.append(self._verbs[type(verb)](verb))
            except DomainError as error:
                answers.append(error)
        return answers

    def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        """See `ports.SessionStore.list`."""
        self._tick()
        now, wall = self._now, self._wall
        found: list[SessionState] = []
        for record in self._owners.get(owner, _NOBODY).after(after):
            if record.deadline <= now or not labels.items() <= record.labels.items():
                continue
            if len(found) == limit:
                return Page(tuple(found), found[-1].session_id, wall)
            found.append(record.state(now, wall, ()))
        return Page(tuple(found), "", wall)

    def sweep(self, budget: int) -> bool:
        """Removes expired sessions, looking at `budget` entries at most. Returns whether there is more to do."""
        self._tick()
        lag = 0
        for record in self._expiry.due(self._now, budget):
            lag = max(lag, self._now - record.deadline)
            self._bury(record, EventType.EXPIRED)
        self._tally.sweep_lag = lag
        return self._expiry.overdue(self._now)

    @property
    def tally(self) -> Tally:
        """Counts of what became of sessions."""
        self._tally.live = len(self)
        return self._tally

    def purge(self, budget: int) -> bool:
        """Forgets what is kept ten minutes, `budget` of each kind at most. Returns whether there may be more."""
        self._tick()
        more_requests = self._requests.purge(self._now, budget)
        return self._tombstones.purge(self._now, budget) or more_requests

    def restore(
        self,
        records: Iterable[Record],
        tombstones: Iterable[tuple[str, str, Tombstone]],
        requests: Iterable[tuple[str, str, Entry]],
    ) -> None:
        """Takes over what another engine was told to keep: records, tombstones by owner and id, requests by owner."""
        for record in records:
            if record.owner not in self._owners:
                self._owners[record.owner] = ShardedMap()
            self._owners[record.owner].put(record.session_id, record)
            self._expiry.file(record)
        for owner, session_id, stone in tombstones:
            self._tombstones.put(owner, session_id, stone)
        for owner, key, entry in requests:
            self._requests.keep(owner, key, entry)

    def _tick(self) -> None:
        """Reads the clocks: what follows happens at this moment."""
        self._now, self._wall = self._clock.monotonic(), self._clock.wall()

    def __len__(self) -> int:
        """How many sessions there are, those included whose deadline has passed and that were not swept yet."""
        return sum(len(sessions) for sessions in self._owners.values())

    def _create(self, verb: Create) -> SessionState:
        entry = self._entry("create", verb, verb.new.session_id)
        if entry is None or entry.outcome is None:
            if verb.new.session_id and self._living(verb.owner, verb.new.session_id):
                raise SessionExists(verb.new.session_id)
            session_id = self._add(verb.owner, verb.new).session_id
            self._remember("create", verb, entry, session_id, verb.new.session_id)
        else:
            session_id = entry.outcome
        return self._get(Get(verb.owner, session_id))

    def _get_or_create(self, verb: GetOrCreate) -> Found:
        entry = self._entry("get_or_create", verb, verb.new.session_id)
        if entry is None or entry.outcome is None:
            found = self._living(verb.owner, verb.new.session_id) if verb.new.session_id else None
            session_id, created = (found or self._add(verb.owner, verb.new)).session_id, found is None
            self._remember("get_or_create", verb, entry, (session_id, created), verb.new.session_id)
        else:
            session_id, created = entry.outcome
        return Found(self._get(Get(verb.owner, session_id)), created)

    def _get(self, verb: Get) -> SessionState:
        record = self._find(verb.owner, verb.session_id)
        if verb.touch:
            record.touch(self._now)
            if self.journal:
                self.journal.touched(record)
        return record.state(self._now, self._wall, verb.keys)

    def _update(self, verb: Update) -> Updated:
        entry = self._entry("update", verb, verb.session_id)
        if entry is not None and entry.outcome is not None:
            known: Updated = entry.outcome
            return known
        record = self._find(verb.owner, verb.session_id, verb.expected)
        draft = Draft(record, self._limits)
        draft.apply(verb.mutations)
        if draft.growth > 0 and record.size + draft.growth > self._limits.session_bytes:
            raise self._limits.session_too_large("mutations")
        draft.commit()
        record.size += draft.growth
        record.version += 1
        record.updated = self._wall
        record.touch(self._now)
        updated = Updated(
            record.incarnation, record.version, draft.incremented, self._wall + record.deadline - self._now, self._wall
        )
        self._remember("update", verb, entry, updated, verb.session_id)
        if self.journal:
            self.journal.changed(EventType.UPDATED, record, tuple(draft.changes))
        return updated

    def _refresh(self, verb: Refresh) -> SessionState:
        entry = self._entry("refresh", verb, verb.session_id)
        if entry is None or entry.outcome is None:
            record = self._find(verb.owner, verb.session_id, verb.expected)
            if verb.idle_ttl is not None:
                record.idle_ttl = verb.idle_ttl
            record.touch(self._now)
            self._expiry.file(record)  # a shorter time to live may be over before its bucket falls due
            self._remember("refresh", verb, entry, True, verb.session_id)
            if self.journal:
                self.journal.changed(EventType.REFRESHED, record, ())
        return self._get(Get(verb.owner, verb.session_id, keys=(), touch=False))

    def _end(self, verb: End) -> Ended:
        entry = self._entry("end", verb, verb.session_id)
        if entry is not None and entry.outcome is not None:
            known: Ended = entry.outcome
            return known
        self._bury(self._find(verb.owner, verb.session_id, verb.expected), EventType.ENDED)
        ended = Ended(self._wall)
        self._remember("end", verb, entry, ended, verb.session_id)
        return ended

    def _entry(self, name: str, verb: Write, session_id: str) -> Entry | None:
        """Where the outcome of a write with a request id is kept, or will be. What fails leaves none: it had no effect.

        Raises RequestIdReused.
        """
        if verb.request is None:
            return None
        key, body = _request_key(name, session_id, verb.request), stable_hash(verb.request.body)
        try:
            return self._requests.find(verb.owner, key, body, self._now)
        except ReusedRequestId:
            raise RequestIdReused from None

    def _remember(self, name: str, verb: Write, entry: Entry | None, outcome: object, session_id: str) -> None:
        if entry is None or verb.request is None:
            return
        entry.outcome = outcome
        key = _request_key(name, session_id, verb.request)
        self._requests.keep(verb.owner, key, entry)
        if self.journal:
            self.journal.remembered(verb.owner, key, entry)

    def _add(self, owner: str, new: NewSession) -> Record:
        sessions = self._owners.get(owner)
        if sessions is None:
            sessions = self._owners[owner] = ShardedMap()
        self._limits.check_quota(owner, len(sessions))
        record = Record(
            owner=owner,
            session_id=new.session_id or mint(),
            incarnation=f"{random.getrandbits(64):016x}",
            values={intern(key): text for key, text in new.values.items()},  # sessions tend to have the same keys
            labels=dict(new.labels) if new.labels else _NO_LABELS,
            idle_ttl=new.idle_ttl,
            created=self._wall,
            updated=self._wall,
            deadline=0,
            max_deadline=self._now + new.max_life,
            size=session_size(new.values),
        )
        record.touch(self._now)
        sessions.put(record.session_id, record)
        self._expiry.file(record)
        self._tombstones.remove(owner, record.session_id)
        self._tally.created += 1
        if self.journal:
            self.journal.changed(EventType.CREATED, record, tuple(record.values))
        return record

    def _living(self, owner: str, session_id: str) -> Record | None:
        """The session of that id if it lives; one whose deadline has passed is buried on the spot."""
        sessions = self._owners.get(owner)
        record = sessions.get(session_id) if sessions else None
        if record is not None and record.deadline <= self._now:
            self._bury(record, EventType.EXPIRED)
            return None
        return record

    def _find(self, owner: str, session_id: str, expected: Expected | None = None) -> Record:
        record = self._living(owner, session_id)
        if record is None:
            raise self._tombstones.error(owner, session_id)
        if expected is not None:
            if expected.etag and expected.etag != record.etag:
                raise Conflict.other_etag(session_id, record.etag)
            if expected.incarnation and expected.incarnation != record.incarnation:
                raise Conflict.other_incarnation(session_id, record.etag)
        return record

    def _bury(self, record: Record, end: EventType) -> None:
        sessions = self._owners[record.owner]
        sessions.remove(record.session_id)
        if not len(sessions):
            del self._owners[record.owner]
        self._expiry.forget(record)
        if end is EventType.EXPIRED:
            self._tally.expired += 1
        else:
            self._tally.ended += 1
        self._tombstones.put(record.owner, record.session_id, Tombstone(end is EventType.EXPIRED, self._now))
        if self.journal:
            self.journal.changed(end, record, ())


def _request_key(name: str, session_id: str, request: RequestKey) -> str:
    return f"{name} {session_id} {request.request_id}"


_NOBODY: ShardedMap[Record] = ShardedMap()
_NO_LABELS: dict[str, str] = {}
