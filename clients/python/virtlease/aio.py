"""The asynchronous twins of what `virtlease` has."""

from virtlease.client.pool.aio import Connection, ConnectionPool
from virtlease.client.sessions.aio import Session, SessionManager

__all__ = ["Connection", "ConnectionPool", "Session", "SessionManager"]
