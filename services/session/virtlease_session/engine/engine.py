"""The verbs on sessions, each one step that nothing can come between."""

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.request_log import RequestLog, ReusedRequestId
from virtlease_session.engine import mutate
from virtlease_session.engine.expiry import ExpiryBuckets
from virtlease_session.engine.record import Record
from virtlease_session.engine.sharded import ShardedMap
from virtlease_session.engine.tombstones import Tombstone, Tombstones
from virtlease_session.errors import Conflict, RequestIdReused, SessionExists
from virtlease_session.limits import Limits, session_size
from virtlease_session.model import Expected, Mutation, NewSession, Page, RequestKey, SessionState, Updated

T = TypeVar("T")


class Engine:
    """Sessions by owner and id. Synchronous and without I/O: a verb runs to its end before the next begins.

    The verbs and their errors are those of `ports.SessionStore`.
    """

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._owners: dict[str, ShardedMap[Record]] = {}
        self._expiry = ExpiryBuckets()
        self._tombstones = Tombstones()
        self._requests: RequestLog[object] = RequestLog()

    def create(self, owner: str, new: NewSession, request: RequestKey | None) -> SessionState:
        def act(now: int) -> str:
            if new.session_id and self._living(owner, new.session_id, now):
                raise SessionExists(new.session_id)
            return self._add(owner, new, now).session_id

        session_id = self._once(owner, request, act)
        return self.get(owner, session_id)

    def get_or_create(self, owner: str, new: NewSession, request: RequestKey | None) -> tuple[SessionState, bool]:
        def act(now: int) -> tuple[str, bool]:
            if new.session_id and (found := self._living(owner, new.session_id, now)):
                return found.session_id, False
            return self._add(owner, new, now).session_id, True

        session_id, created = self._once(owner, request, act)
        return self.get(owner, session_id), created

    def get(self, owner: str, session_id: str, keys: Sequence[str] | None = None, touch: bool = True) -> SessionState:
        now = self._clock.monotonic()
        record = self._find(owner, session_id, now)
        if touch:
            record.touch(now)
        return record.state(now, self._clock.wall(), None if keys is None else tuple(keys))

    def update(
        self,
        owner: str,
        session_id: str,
        mutations: Sequence[Mutation],
        expected: Expected,
        request: RequestKey | None,
    ) -> Updated:
        def act(now: int) -> Updated:
            record = self._find(owner, session_id, now, expected)
            draft = mutate.Draft(record.values, self._limits)
            mutate.apply(session_id, record.etag, draft, mutations)
            if record.size + draft.growth > self._limits.session_bytes:
                raise InvalidArgument("mutations", f"a session has at most {self._limits.session_bytes} bytes")
            draft.commit()
            record.size += draft.growth
            record.version += 1
            record.updated = wall = self._clock.wall()
            record.touch(now)
            return Updated(record.etag, draft.incremented, wall + record.deadline - now, wall)

        return self._once(owner, request, act)

    def refresh(
        self, owner: str, session_id: str, idle_ttl: int | None, expected: Expected, request: RequestKey | None
    ) -> SessionState:
        def act(now: int) -> None:
            record = self._find(owner, session_id, now, expected)
            if idle_ttl is not None:
                record.idle_ttl = idle_ttl
            record.touch(now)
            self._expiry.file(record)  # a shorter time to live may be over before its bucket falls due

        self._once(owner, request, act)
        return self.get(owner, session_id, keys=(), touch=False)

    def end(self, owner: str, session_id: str, expected: Expected, request: RequestKey | None) -> int:
        def act(now: int) -> int:
            self._bury(self._find(owner, session_id, now, expected), expired=False, now=now)
            return self._clock.wall()

        return self._once(owner, request, act)

    def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        now, wall = self._clock.monotonic(), self._clock.wall()
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
        now = self._clock.monotonic()
        for record in self._expiry.due(now, budget):
            self._bury(record, expired=True, now=now)
        return self._expiry.overdue(now)

    def purge(self, budget: int) -> bool:
        """Forgets what is kept ten minutes, `budget` of each kind at most. Returns whether there may be more."""
        now = self._clock.monotonic()
        more_requests = self._requests.purge(now, budget)
        return self._tombstones.purge(now, budget) or more_requests

    def __len__(self) -> int:
        """How many sessions there are, those included whose deadline has passed and that were not swept yet."""
        return sum(len(sessions) for sessions in self._owners.values())

    def _once(self, owner: str, request: RequestKey | None, act: Callable[[int], T]) -> T:
        """Acts, or returns what the same request did before. What fails is not remembered: it had no effect."""
        now = self._clock.monotonic()
        if request is None:
            return act(now)
        try:
            known = self._requests.find(owner, request.method, request.request_id, request.fingerprint, now)
        except ReusedRequestId:
            raise RequestIdReused from None
        if known is not None:
            return known[0]  # type: ignore[index,no-any-return]
        outcome = act(now)
        self._requests.record(owner, request.method, request.request_id, request.fingerprint, now, (outcome,))
        return outcome

    def _add(self, owner: str, new: NewSession, now: int) -> Record:
        sessions = self._owners.setdefault(owner, ShardedMap())
        self._limits.check_quota(owner, len(sessions))
        wall = self._clock.wall()
        record = Record(
            owner=owner,
            session_id=new.session_id or secrets.token_urlsafe(24),
            incarnation=f"{random.getrandbits(64):016x}",
            values=dict(new.values),
            labels=dict(new.labels),
            idle_ttl=new.idle_ttl,
            created=wall,
            updated=wall,
            deadline=0,
            max_deadline=now + new.max_life,
            size=session_size(new.values),
        )
        record.touch(now)
        sessions.put(record.session_id, record)
        self._expiry.file(record)
        self._tombstones.remove(owner, record.session_id)
        return record

    def _living(self, owner: str, session_id: str, now: int) -> Record | None:
        """The session of that id if it lives; one whose deadline has passed is buried on the spot."""
        sessions = self._owners.get(owner)
        record = sessions.get(session_id) if sessions else None
        if record is not None and record.deadline <= now:
            self._bury(record, expired=True, now=now)
            return None
        return record

    def _find(self, owner: str, session_id: str, now: int, expected: Expected | None = None) -> Record:
        record = self._living(owner, session_id, now)
        if record is None:
            raise self._tombstones.error(owner, session_id)
        if expected is not None:
            if expected.etag and expected.etag != record.etag:
                raise Conflict(session_id, record.etag, f"the session's etag is {record.etag}")
            if expected.incarnation and expected.incarnation != record.incarnation:
                raise Conflict(session_id, record.etag, "the session is of another incarnation")
        return record

    def _bury(self, record: Record, *, expired: bool, now: int) -> None:
        sessions = self._owners[record.owner]
        sessions.remove(record.session_id)
        if not len(sessions):
            del self._owners[record.owner]
        self._expiry.forget(record)
        self._tombstones.put(record.owner, record.session_id, Tombstone(expired, now))


_NOBODY: ShardedMap[Record] = ShardedMap()
