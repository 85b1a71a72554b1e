"""Sessions in memory: the reference for every store, and what the memory and SQLite stores serve from."""

from virtlease_session.engine.engine import Engine

__all__ = ["Engine"]
