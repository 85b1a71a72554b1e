"""The database: opened by one process at a time, written in whole groups. All of it blocks, and runs in a thread."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from sys import intern
from typing import Any

import msgspec

from virtlease_chassis.request_log import Entry
from virtlease_chassis.settings import SettingsError
from virtlease_session.engine import Engine
from virtlease_session.engine.record import Record
from virtlease_session.engine.tombstones import Tombstone
from virtlease_session.limits import session_size
from virtlease_session.store.sqlite import outcomes
from virtlease_session.store.sqlite.group import Rows
from virtlease_session.store.sqlite.rows import write_rows

FILE = "sessions.sqlite3"
_KEPT_MS = 10 * 60 * 1000
_UPSERT = """
ON CONFLICT (row) DO UPDATE SET version = excluded.version, idle_ttl = excluded.idle_ttl, updated = excluded.updated,
deadline = excluded.deadline
"""


def slack(idle_ttl: int) -> int:
    """By how much, in ms, a deadline may be ahead of the one on disk before it is written again.

    A use of a session is no write; after a restart a session lives up to this much longer, and never shorter.
    """
    return min(idle_ttl // 10, 5000)


class Database:
    """One open database. After an sqlite3.Error it is of no more use: close it and open another one."""

    def __init__(self, folder: Path) -> None:
        """Raises SettingsError when the folder cannot be used, or another process uses it."""
        self._lock = _lock(folder)
        try:
            self._database = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False)
            # FULL: a commit returns when the log is on the disk, and so survives the loss of power.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cache_size=-32000"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.executescript(files(__package__).joinpath("schema.sql").read_text())
        except sqlite3.Error:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Closes the database and lets another process have it."""
        try:
            self._database.close()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def write(self, rows: Rows) -> None:
        """Writes a group, whole or not at all; returns when it is on the disk. Raises sqlite3.Error."""
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            for (row,) in rows.gone_sessions:
                database.execute("DELETE FROM sessions WHERE row = ?", (row,))
                database.execute("DELETE FROM vals WHERE session = ?", (row,))
            write_rows(database, "INSERT INTO sessions", rows.sessions, _UPSERT)
            write_rows(database, "INSERT OR REPLACE INTO vals", rows.values)
            for gone in rows.gone_values:
                database.execute("DELETE FROM vals WHERE session = ? AND key = ?", gone)
            write_rows(database, "INSERT OR REPLACE INTO tombstones", rows.tombstones)
            write_rows(database, "INSERT INTO requests (owner, key, fingerprint, at, outcome)", rows.requests)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def probe(self) -> None:
        """Writes something and takes it back. Raises sqlite3.Error when the disk takes nothing."""
        with self._database as database:
            database.execute("CREATE TABLE IF NOT EXISTS probe (content BLOB)")
            database.execute("INSERT INTO probe VALUES (zeroblob(65536))")
        with self._database as database:
            database.execute("DELETE FROM probe")

    def purge(self, wall: int) -> None:
        """Forgets tombstones and requests that are older than ten minutes."""
        with self._database as database:
            database.execute("DELETE FROM tombstones WHERE at < ?", (wall - _KEPT_MS,))
            database.execute("DELETE FROM requests WHERE at < ?", (wall - _KEPT_MS,))

    def load(self, engine: Engine, now: int, wall: int) -> int:
        """Gives an empty engine everything that is kept. Returns the number of the last row."""
        back = now - wall
        engine.restore(self._records(back), self._tombstones(back), self._requests(back))
        (last,) = self._database.execute("SELECT coalesce(max(row), 0) FROM sessions").fetchone()
        return int(last)

    def _records(self, back: int) -> Iterator[Record]:
        values: dict[int, dict[str, str]] = {}
        for session, key, value in self._database.execute("SELECT session, key, value FROM vals"):
            values.setdefault(session, {})[intern(key)] = value
        for row in self._database.execute("SELECT * FROM sessions"):
            yield _record(row, values.pop(row[0], {}), back)

    def _tombstones(self, back: int) -> Iterator[tuple[str, str, Tombstone]]:
        for owner, session_id, expired, at in self._database.execute("SELECT * FROM tombstones ORDER BY at"):
            yield owner, session_id, Tombstone(bool(expired), at + back)

    def _requests(self, back: int) -> Iterator[tuple[str, str, Entry]]:
        query = "SELECT owner, key, fingerprint, at, outcome FROM requests ORDER BY number"
        for owner, key, fingerprint, at, outcome in self._database.execute(query):
            yield owner, key, Entry(at + back, int(fingerprint), outcomes.decode(outcome))


def _record(row: tuple[Any, ...], values: dict[str, str], back: int) -> Record:
    number, owner, session_id, incarnation, version, labels, idle_ttl, created, updated, deadline, max_deadline = row
    # What was used since the deadline was written may live a little longer; nothing lives shorter.
    deadline = min(deadline + slack(idle_ttl), max_deadline) + back
    return Record(
        owner=owner,
        session_id=session_id,
        incarnation=incarnation,
        values=values,
        labels=msgspec.json.decode(labels, type=dict[str, str]),
        idle_ttl=idle_ttl,
        created=created,
        updated=updated,
        deadline=deadline,
        max_deadline=max_deadline + back,
        version=version,
        size=session_size(values),
        row=number,
        saved_deadline=deadline,
    )


def _lock(folder: Path) -> int:
    """Holds the folder for this process. The lock goes with the process, however it ends."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError([f"VIRTLEASE_SESSION_DATA_DIR: cannot use {folder}: {error.strerror}"]) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise SettingsError([f"VIRTLEASE_SESSION_DATA_DIR: another process has {folder} open"]) from error
    return lock
