"""Sessions in memory with every acknowledged write on disk: an engine, and one thread that commits in groups.

The engine acts at once. Its changes gather in a group while the last group is being committed, and whoever made or saw
them is answered when their group is on the disk: nobody learns of anything that a crash could undo.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import DomainError
from virtlease_chassis.request_log import Entry
from virtlease_chassis.settings import SettingsError
from virtlease_session.engine import Engine
from virtlease_session.engine.record import Record
from virtlease_session.engine.tombstones import Tombstone
from virtlease_session.errors import StoreUnavailable
from virtlease_session.limits import Limits
from virtlease_session.model import Answer, Create, EventType, GetOrCreate, Page, Verb
from virtlease_session.ports import Watcher
from virtlease_session.store.event_hub import EventHub
from virtlease_session.store.maintenance import maintain
from virtlease_session.store.memory import to_event
from virtlease_session.store.sqlite.database import Database, slack
from virtlease_session.store.sqlite.group import Group
from virtlease_session.tally import Tally

_RECOVER_SECONDS = 0.5
_PURGE_SECONDS = 60.0

T = TypeVar("T")
log = logging.getLogger(__name__)


class SqliteStore:
    """See `ports.SessionStore`. One process only: a lock on the folder sees to it."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        limits: Limits,
        watch_history: int,
        on_health: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`on_health` is told when the disk fails, and when it works again."""
        self._folder = folder
        self._clock = clock
        self._limits = limits
        self._on_health = on_health
        self._hub = EventHub(watch_history)
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._writer: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._failed = False
        self._last_row = 0
        self._group: Group
        self._committing: Group
        self._database: Database
        self.engine: Engine

    async def open(self) -> None:
        """Loads what is kept and begins to write. Raises SettingsError when the folder cannot be used."""
        await self._load()
        self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Writes what is left, and lets another process have the folder."""
        await self._settled(self._committing, self._group)
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._in_thread(self._close_quietly)
        self._thread.shutdown()

    @property
    def tally(self) -> Tally:
        return self.engine.tally

    async def execute(self, verbs: Sequence[Verb]) -> list[Answer | DomainError]:
        if self._failed:
            return [StoreUnavailable() for _ in verbs]
        answers = self.engine.execute(verbs)
        if not await self._settled(*self._groups_of(verbs)):
            return [StoreUnavailable() for _ in verbs]
        return answers

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        page = self.engine.list(owner, labels, limit, after)
        if self._failed or not await self._settled(self._committing, self._group):
            raise StoreUnavailable
        return page

    async def watch(self, owner: str, token: str) -> Watcher:
        return self._hub.watch(owner, token)

    async def maintain(self, cleanup_interval: float) -> None:
        """Sweeps and purges until it is cancelled."""
        await maintain(lambda: self.engine, cleanup_interval)

    # What the engine tells: `engine.Journal`

    def changed(self, kind: EventType, record: Record, keys: tuple[str, ...]) -> None:
        group = self._open_group()
        group.sessions.add((record.owner, record.session_id))
        if kind in (EventType.EXPIRED, EventType.ENDED):
            group.end(record, Tombstone(kind is EventType.EXPIRED, self._clock.monotonic()))
        else:
            if kind is EventType.CREATED:
                self._last_row += 1
                record.row = self._last_row
            group.change(record, keys)
        if self._hub.watches(record.owner):
            group.events.append(to_event(kind, record, keys, self._clock.wall()))

    def touched(self, record: Record) -> None:
        if record.deadline - record.saved_deadline > slack(record.idle_ttl):
            record.saved_deadline = record.deadline
            self._open_group().change(record, ())

    def remembered(self, owner: str, key: str, entry: Entry) -> None:
        self._open_group().remember(owner, key, entry)

    # Groups

    def _open_group(self) -> Group:
        self._wake.set()
        return self._group

    def _groups_of(self, verbs: Sequence[Verb]) -> tuple[Group, ...]:
        """The groups that hold anything that these verbs did or saw."""
        if any(isinstance(verb, Create | GetOrCreate) for verb in verbs):
            return self._committing, self._group
        return tuple(
            group
            for group in (self._committing, self._group)
            if any((verb.owner, verb.session_id) in group.sessions for verb in verbs)  # type: ignore[union-attr]
        )

    async def _settled(self, *groups: Group) -> bool:
        """Waits until the groups are on the disk. Returns whether they are."""
        try:
            for group in groups:
                if group:
                    await asyncio.shield(group.done)
        except StoreUnavailable:
            return False
        return True

    async def _write(self) -> None:
        """Commits one group after the other; when that fails, begins anew from what is on the disk."""
        loop = asyncio.get_running_loop()
        purge_at = loop.time() + _PURGE_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                if self._group:
                    await self._commit()
                if loop.time() >= purge_at:
                    purge_at = loop.time() + _PURGE_SECONDS
                    await self._in_thread(self._database.purge, self._clock.wall())
            except sqlite3.Error as error:
                await self._recover(error)

    async def _commit(self) -> None:
        group = self._committing = self._group
        self._group = Group(asyncio.get_running_loop())
        rows = group.rows(self._clock.monotonic(), self._clock.wall())
        await self._in_thread(self._database.write, rows)
        group.done.set_result(None)
        self._committing = Group(asyncio.get_running_loop())
        for event in group.events:
            self._hub.publish(event)

    async def _recover(self, error: sqlite3.Error) -> None:
        """Drops what is not on the disk, tells those who wait for it, and tries until the disk works again."""
        log.error("sessions cannot be written: %s", error)
        self._failed = True
        self._on_health(False)
        for group in (self._committing, self._group):
            if not group.done.done():
                group.done.set_exception(StoreUnavailable())
                group.done.exception()  # there may be nobody to be told
        while True:
            await self._in_thread(self._close_quietly)
            await asyncio.sleep(_RECOVER_SECONDS)
            try:
                await self._load()
                await self._in_thread(self._database.probe)
            except (sqlite3.Error, SettingsError, OSError) as again:
                log.warning("sessions still cannot be written: %s", again)
            else:
                break
        self._failed = False
        self._on_health(True)
        log.info("sessions can be written again")

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        self._database = await self._in_thread(Database, self._folder)
        engine = Engine(self._clock, self._limits)
        self._last_row = await self._in_thread(self._database.load, engine, self._clock.monotonic(), self._clock.wall())
        self._group, self._committing = Group(loop), Group(loop)
        engine.journal = self
        self.engine = engine

    def _close_quietly(self) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            self._database.close()

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
