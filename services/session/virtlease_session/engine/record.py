"""A session as the engine keeps it."""

import msgspec

from virtlease_session.lists import to_json
from virtlease_session.model import SessionState, make_etag

NEVER = -1


class Record(msgspec.Struct, gc=False, eq=False):
    """One session. Times are ms: `created`, `updated` of the wall clock, the others of the monotonic one.

    `gc=False`: with a million sessions a full collection would otherwise stop the process for most of a second. It
    is safe since a record refers to nothing but strings and dicts of strings.
    """

    owner: str
    session_id: str
    incarnation: str
    values: dict[str, str]
    labels: dict[str, str]
    idle_ttl: int
    created: int
    updated: int
    deadline: int
    max_deadline: int
    version: int = 1
    size: int = 0
    bucket: int = NEVER
    """The second under which it is filed for expiry; NEVER when it has ended."""
    row: int = 0
    """Where a durable store keeps it."""
    saved_deadline: int = 0
    """The deadline that a durable store has of it."""

    @property
    def etag(self) -> str:
        return make_etag(self.incarnation, self.version)

    def touch(self, now: int) -> None:
        """Starts the idle time anew."""
        deadline = now + self.idle_ttl
        self.deadline = deadline if deadline < self.max_deadline else self.max_deadline

    def state(self, now: int, wall: int, keys: "tuple[str, ...] | None" = None) -> SessionState:
        """A copy of it for the outside, with those of the keys that it has; with all for None."""
        if keys is None:
            values = {key: to_json(stored) for key, stored in self.values.items()}
        else:
            values = {key: to_json(self.values[key]) for key in keys if key in self.values}
        return SessionState(
            session_id=self.session_id,
            incarnation=self.incarnation,
            version=self.version,
            values=values,
            labels=self.labels,
            idle_ttl=self.idle_ttl,
            created_at=self.created,
            updated_at=self.updated,
            expires_at=wall + self.deadline - now,
            max_expires_at=wall + self.max_deadline - now,
            now=wall,
        )
