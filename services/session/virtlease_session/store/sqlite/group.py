"""What is written in one transaction: everything that happened while the last one was on its way to the disk."""

import asyncio
from typing import Any

import msgspec

from virtlease_chassis.request_log import Entry
from virtlease_session.engine.record import Record
from virtlease_session.engine.tombstones import Tombstone
from virtlease_session.model import Event
from virtlease_session.store.sqlite import outcomes

SessionKey = tuple[str, str]


class Rows(msgspec.Struct):
    """The rows of a group, as the writer's thread takes them: it sees no object that the event loop may change."""

    sessions: list[tuple[Any, ...]] = []
    values: list[tuple[Any, ...]] = []
    gone_values: list[tuple[Any, ...]] = []
    gone_sessions: list[tuple[int]] = []
    tombstones: list[tuple[Any, ...]] = []
    requests: list[tuple[Any, ...]] = []


class Group:
    """Changes that are not on disk yet. A session that changed several times is written once, as it is at the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.events: list[Event] = []
        self.sessions: set[SessionKey] = set()
        """Those that whoever reads must wait for."""
        self._changed: dict[Record, set[str]] = {}
        self._ended: list[tuple[Record, Tombstone]] = []
        self._requests: list[tuple[str, str, Entry]] = []

    def __bool__(self) -> bool:
        return bool(self._changed or self._ended or self._requests)

    def change(self, record: Record, keys: tuple[str, ...]) -> None:
        """A session is new or different; `keys` are those whose values changed."""
        changed = self._changed.get(record)
        if changed is None:
            self._changed[record] = set(keys)
        else:
            changed.update(keys)

    def end(self, record: Record, stone: Tombstone) -> None:
        """A session is over."""
        self._changed.pop(record, None)
        self._ended.append((record, stone))

    def remember(self, owner: str, key: str, entry: Entry) -> None:
        """A request came to something."""
        self._requests.append((owner, key, entry))

    def rows(self, now: int, wall: int) -> Rows:
        """Everything as rows, at this moment on both clocks."""
        rows = Rows()
        ahead = wall - now
        for record, keys in self._changed.items():
            record.saved_deadline = record.deadline
            labels = msgspec.json.encode(record.labels).decode()
            rows.sessions.append(
                (
                    record.row, record.owner, record.session_id, record.incarnation, record.version, labels,
                    record.idle_ttl, record.created, record.updated, record.deadline + ahead,
                    record.max_deadline + ahead,
                )
            )  # fmt: skip
            for key in keys:
                value = record.values.get(key)
                if value is None:
                    rows.gone_values.append((record.row, key))
                else:
                    rows.values.append((record.row, key, value))
        for record, stone in self._ended:
            rows.gone_sessions.append((record.row,))
            rows.tombstones.append((record.owner, record.session_id, int(stone.expired), stone.at + ahead))
        for owner, key, entry in self._requests:
            rows.requests.append((owner, key, str(entry.fingerprint), entry.at + ahead, outcomes.encode(entry.outcome)))
        return rows
