"""Sessions and what can be done to them, as plain values. All times are whole milliseconds.

Structs of msgspec: a stream carries a hundred thousand of these a second, and they are made in a tenth of the time
that a frozen dataclass takes.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

import msgspec


class SessionState(msgspec.Struct, frozen=True):
    """A session as it was at `now`. The times of day are the server's; `values` is JSON text by key."""

    session_id: str
    incarnation: str
    version: int
    values: Mapping[str, str]
    labels: Mapping[str, str]
    idle_ttl: int
    created_at: int
    updated_at: int
    expires_at: int
    max_expires_at: int
    now: int

    @property
    def etag(self) -> str:
        return make_etag(self.incarnation, self.version)


def make_etag(incarnation: str, version: int) -> str:
    """Names one state of one session that ever was."""
    return f"{incarnation}-{version}"


class NewSession(msgspec.Struct, frozen=True):
    """What a session is created as. The store mints the id when it is empty."""

    session_id: str = ""
    idle_ttl: int = 3_600_000
    max_life: int = 86_400_000
    values: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}


# What a mutation does


class Set(msgspec.Struct, frozen=True, gc=False):
    """Replaces a value or makes it."""

    text: str


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Removes a key, if it is there."""


class Increment(msgspec.Struct, frozen=True, gc=False):
    """Adds to an integer of 64 bits; an absent key counts as 0."""

    amount: int


class Append(msgspec.Struct, frozen=True, gc=False):
    """Adds an item to a list, and drops the oldest ones beyond a cap; 0 is no cap."""

    item: str
    max_items: int = 0
    max_bytes: int = 0


Operation: TypeAlias = Set | Delete | Increment | Append


class Mutation(msgspec.Struct, frozen=True, gc=False):
    """One change of one key, under conditions that are None when they are not set.

    `exists`: whether the key must be there. `equals`: the JSON text that its value must be.
    """

    key: str
    operation: Operation
    exists: bool | None = None
    equals: str | None = None


class Expected(msgspec.Struct, frozen=True, gc=False):
    """The state that a write was meant for. Empty parts hold for any."""

    etag: str = ""
    incarnation: str = ""


ANY = Expected()


class RequestKey(msgspec.Struct, frozen=True, gc=False):
    """Names a write, so that a retry of it has no second effect. `body` is the request's bytes, to tell it from others.

    The id is of the owner, the method and, for a write to an existing session, that session.
    """

    request_id: str
    body: bytes


# What a store can be asked for


class Create(msgspec.Struct, frozen=True):
    """Create a session. Fails with SessionExists, or ResourceExhausted beyond the quota. Returns a SessionState."""

    owner: str
    new: NewSession
    request: RequestKey | None = None


class GetOrCreate(msgspec.Struct, frozen=True):
    """Return the session of that id, its deadline moved, or create it. Returns a Found."""

    owner: str
    new: NewSession
    request: RequestKey | None = None


class Get(msgspec.Struct, frozen=True):
    """Return a SessionState with those of the keys that it has (all for None), and move its deadline if `touch`."""

    owner: str
    session_id: str
    keys: tuple[str, ...] | None = None
    touch: bool = True


class Update(msgspec.Struct, frozen=True):
    """Apply all mutations in order, or none, and move the deadline. Returns an Updated.

    Fails with Conflict for a precondition that does not hold, WrongType or IncrementOverflow for a value that cannot be
    incremented or appended to, InvalidArgument when the session would become too large.
    """

    owner: str
    session_id: str
    mutations: list[Mutation]
    expected: Expected = ANY
    request: RequestKey | None = None


class Refresh(msgspec.Struct, frozen=True):
    """Move the deadline, by a new idle TTL if one is given. Returns a SessionState without values."""

    owner: str
    session_id: str
    idle_ttl: int | None = None
    expected: Expected = ANY
    request: RequestKey | None = None


class End(msgspec.Struct, frozen=True):
    """End a session for good. Returns an Ended."""

    owner: str
    session_id: str
    expected: Expected = ANY
    request: RequestKey | None = None


Verb: TypeAlias = Create | GetOrCreate | Get | Update | Refresh | End


# What a store answers


class Found(msgspec.Struct, frozen=True):
    """A session, and whether it was created for the asking."""

    state: SessionState
    created: bool


class Updated(msgspec.Struct, frozen=True, gc=False):
    """What an update came to. `incremented` has the new value of each incremented key."""

    incarnation: str
    version: int
    incremented: Mapping[str, int]
    expires_at: int
    now: int

    @property
    def etag(self) -> str:
        return make_etag(self.incarnation, self.version)


class Ended(msgspec.Struct, frozen=True, gc=False):
    """When a session was ended, on the wall clock."""

    at: int


Answer: TypeAlias = SessionState | Found | Updated | Ended


class Page(msgspec.Struct, frozen=True):
    """Some of an owner's sessions, without values; `after` is where the next page begins, empty on the last."""

    sessions: tuple[SessionState, ...]
    after: str
    now: int


# What is told of it to watchers


class EventType(Enum):
    """What happened to a session."""

    CREATED = 1
    UPDATED = 2
    REFRESHED = 3
    EXPIRED = 4
    ENDED = 5


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a session, and the session's etag after it. `at` is the wall clock."""

    type: EventType
    owner: str
    session_id: str
    etag: str
    at: int
    labels: Mapping[str, str]
    keys: tuple[str, ...] = ()
