"""Sessions and what can be done to them, as plain values. All times are whole milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SessionState:
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


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a session is created as. The store mints the id when it is empty."""

    session_id: str = ""
    idle_ttl: int = 3_600_000
    max_life: int = 86_400_000
    values: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Set:
    """Replaces a value or makes it."""

    text: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes a key, if it is there."""


@dataclass(frozen=True, slots=True)
class Increment:
    """Adds to an integer of 64 bits; an absent key counts as 0."""

    amount: int


@dataclass(frozen=True, slots=True)
class Append:
    """Adds an item to a list, and drops the oldest ones beyond a cap; 0 is no cap."""

    item: str
    max_items: int = 0
    max_bytes: int = 0


Operation: TypeAlias = Set | Delete | Increment | Append


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of one key, under conditions that are None when they are not set.

    `exists`: whether the key must be there. `equals`: the JSON text that its value must be.
    """

    key: str
    operation: Operation
    exists: bool | None = None
    equals: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """The state that a write was meant for. Empty parts hold for any."""

    etag: str = ""
    incarnation: str = ""


ANY = Expected()


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Names a write, so that a retry of it has no second effect. The fingerprint tells its body from others."""

    method: str
    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update came to. `incremented` has the new value of each incremented key."""

    etag: str
    incremented: Mapping[str, int]
    expires_at: int
    now: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some of an owner's sessions, without values; `after` is where the next page begins, empty on the last."""

    sessions: tuple[SessionState, ...]
    after: str
    now: int
