"""The SQLite store: sessions in memory, and every acknowledged write on disk."""

from virtlease_session.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
