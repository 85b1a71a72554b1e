"""What a session store should answer, by plain dicts: slow, obvious, and written without looking at the engine.

Lists are Python lists of JSON texts, and everything else is JSON text. Times are ms of one clock. Where a store may do
one thing or another (an expired session may count in a quota until it is swept; a tombstone may be forgotten after ten
minutes), `may_differ` says what else is right.
"""

from dataclasses import dataclass, field
from typing import Any

from virtlease_chassis.errors import DomainError, InvalidArgument, ResourceExhausted
from virtlease_session.errors import (
    Conflict,
    IncrementOverflow,
    RequestIdReused,
    SessionEnded,
    SessionExists,
    SessionExpired,
    SessionNotFound,
    WrongType,
)
from virtlease_session.limits import Limits
from virtlease_session.model import (
    Append,
    Create,
    Delete,
    End,
    Expected,
    Get,
    GetOrCreate,
    Increment,
    Mutation,
    NewSession,
    Refresh,
    Set,
    Update,
    Verb,
)

TEN_MINUTES = 600_000
# Values that tests use, with the items of those that are lists
VALUES: dict[str, list[str] | None] = {
    "1": None,
    "-7": None,
    "9223372036854775807": None,
    "1.5": None,
    '"text"': None,
    '{"a": [1, 2]}': None,
    "[]": [],
    "[1, [2, 3] ]": ["1", "[2, 3]"],
    '"' + "x" * 60 + '"': None,
}
Value = str | list[str]
Key = tuple[str, str]


class Wrong(Exception):
    """Raised with the class of the error that the store should answer."""

    def __init__(self, error: type[DomainError]) -> None:
        super().__init__(error.__name__)
        self.error = error


@dataclass
class Model:
    """One session."""

    incarnation: str
    values: dict[str, Value]
    labels: dict[str, str]
    idle: int
    deadline: int
    max_deadline: int
    version: int = 1

    @property
    def etag(self) -> str:
        return f"{self.incarnation}-{self.version}"

    def texts(self, keys: tuple[str, ...] | None = None) -> dict[str, str]:
        return {key: text(value) for key, value in self.values.items() if keys is None or key in keys}

    def touch(self, now: int) -> None:
        self.deadline = min(now + self.idle, self.max_deadline)


def text(value: Value) -> str:
    return value if isinstance(value, str) else f"[{','.join(value)}]"


def size(values: dict[str, Value]) -> int:
    return sum(len(key.encode()) + len(text(value).encode()) for key, value in values.items())


@dataclass
class Oracle:
    """All sessions, living and dead."""

    limits: Limits
    now: int = 0
    living: dict[Key, Model] = field(default_factory=dict)
    dead: dict[Key, tuple[type[DomainError], int]] = field(default_factory=dict)
    requests: dict[tuple[str, ...], tuple[int, bytes, Any]] = field(default_factory=dict)

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds
        for key, model in list(self.living.items()):
            if model.deadline <= self.now:
                del self.living[key]
                self.dead[key] = SessionExpired, model.deadline

    def owned(self, owner: str) -> dict[str, Model]:
        return {session_id: model for (name, session_id), model in self.living.items() if name == owner}

    def may_differ(self, verb: Verb) -> set[type[DomainError]]:
        """Other errors that the store may answer this with."""
        if isinstance(verb, Create | GetOrCreate):
            unswept = sum(owner == verb.owner and why is SessionExpired for (owner, _), (why, _) in self.dead.items())
            full = len(self.owned(verb.owner)) + unswept >= self.limits.sessions_per_owner
            return {ResourceExhausted} if full else set()
        died = self.dead.get((verb.owner, verb.session_id))
        return {SessionNotFound} if died and self.now - died[1] >= TEN_MINUTES else set()

    def answer(self, verb: Verb, minted: str, incarnation: str) -> Any:
        """What the store should answer: a Model and more, or raises Wrong. It minted these, if it minted any."""
        match verb:
            case Create(owner, new):
                known = self._known("create", verb, new.session_id)
                if known is not None:
                    return self._found(owner, known, touch=True)
                if new.session_id and (owner, new.session_id) in self.living:
                    raise Wrong(SessionExists)
                session_id = self._add(owner, new, minted, incarnation)
                return self._remember("create", verb, new.session_id, session_id) and self.living[owner, session_id]
            case GetOrCreate(owner, new):
                known = self._known("get_or_create", verb, new.session_id)
                if known is None:
                    created = (owner, new.session_id) not in self.living
                    session_id = self._add(owner, new, minted, incarnation) if created else new.session_id
                    known = self._remember("get_or_create", verb, new.session_id, (session_id, created))
                return self._found(owner, known[0], touch=True), known[1]
            case Get(owner, session_id, _, touch):
                return self._found(owner, session_id, touch=touch)
            case Update(owner, session_id, mutations, expected):
                known = self._known("update", verb, session_id)
                if known is None:
                    known = self._update(owner, session_id, mutations, expected)
                    self._remember("update", verb, session_id, known)
                return known
            case Refresh(owner, session_id, idle, expected):
                if self._known("refresh", verb, session_id) is None:
                    model = self._expected(owner, session_id, expected)
                    model.idle = model.idle if idle is None else idle
                    model.touch(self.now)
                    self._remember("refresh", verb, session_id, True)
                return self._found(owner, session_id, touch=False)
            case End(owner, session_id, expected):
                if self._known("end", verb, session_id) is None:
                    self._expected(owner, session_id, expected)
                    del self.living[owner, session_id]
                    self.dead[owner, session_id] = SessionEnded, self.now
                    self._remember("end", verb, session_id, True)
                return None

    def _found(self, owner: str, session_id: str, *, touch: bool) -> Model:
        model = self.living.get((owner, session_id))
        if model is None:
            raise Wrong(self.dead.get((owner, session_id), (SessionNotFound, 0))[0])
        if touch:
            model.touch(self.now)
        return model

    def _expected(self, owner: str, session_id: str, expected: Expected) -> Model:
        model = self._found(owner, session_id, touch=False)
        if expected.etag not in ("", model.etag) or expected.incarnation not in ("", model.incarnation):
            raise Wrong(Conflict)
        return model

    def _add(self, owner: str, new: NewSession, minted: str, incarnation: str) -> str:
        if len(self.owned(owner)) >= self.limits.sessions_per_owner:
            raise Wrong(ResourceExhausted)
        values: dict[str, Value] = dict(new.values)
        model = Model(incarnation, values, dict(new.labels), new.idle_ttl, 0, self.now + new.max_life)
        model.touch(self.now)
        session_id = new.session_id or minted
        self.living[owner, session_id] = model
        self.dead.pop((owner, session_id), None)
        return session_id

    def _update(self, owner: str, session_id: str, mutations: list[Mutation], expected: Expected) -> Any:
        model = self._expected(owner, session_id, expected)
        values = dict(model.values)
        sums: dict[str, int] = {}
        for mutation in mutations:
            before = values.get(mutation.key)
            if mutation.exists is not None and mutation.exists != (before is not None):
                raise Wrong(Conflict)
            if mutation.equals is not None and (before is None or text(before) != mutation.equals):
                raise Wrong(Conflict)
            self._mutate(values, mutation, before, sums)
        if size(values) > max(self.limits.session_bytes, size(model.values)):
            raise Wrong(InvalidArgument)
        if len(values) > max(self.limits.keys, len(model.values)):
            raise Wrong(InvalidArgument)
        model.values, model.version = values, model.version + 1
        model.touch(self.now)
        return model.etag, sums, model.deadline

    def _mutate(self, values: dict[str, Value], mutation: Mutation, before: Value | None, sums: dict[str, int]) -> None:
        key = mutation.key
        match mutation.operation:
            case Set(content):
                values[key] = content
            case Delete():
                values.pop(key, None)
            case Increment(amount):
                if before is not None and (isinstance(before, list) or not before.lstrip("-").isdigit()):
                    raise Wrong(WrongType)
                total = int(before or 0) + amount
                if not -(2**63) <= total < 2**63:
                    raise Wrong(IncrementOverflow)
                values[key] = str(total)
                sums[key] = total
            case Append(item, max_items, max_bytes):
                items = VALUES.get(before) if isinstance(before, str) else before
                if before is not None and items is None:
                    raise Wrong(WrongType)
                items = [*(items or ()), item]
                items = items[-max_items:] if max_items else items
                while max_bytes and len(items) > 1 and len(text(items).encode()) > max_bytes:
                    items = items[1:]
                if len(text(items).encode()) > self.limits.value_bytes:
                    raise Wrong(InvalidArgument)
                values[key] = items

    def _known(self, name: str, verb: Any, session_id: str) -> Any:
        if verb.request is None:
            return None
        at, body, outcome = self.requests.get((verb.owner, name, session_id, verb.request.request_id), (0, b"", None))
        if outcome is None or self.now - at >= TEN_MINUTES:
            return None
        if body != verb.request.body:
            raise Wrong(RequestIdReused)
        return outcome

    def _remember(self, name: str, verb: Any, session_id: str, outcome: Any) -> Any:
        if verb.request is not None:
            key = (verb.owner, name, session_id, verb.request.request_id)
            self.requests[key] = self.now, verb.request.body, outcome
        return outcome
