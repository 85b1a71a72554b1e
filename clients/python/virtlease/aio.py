"""The asynchronous twins of what `virtlease` has."""

from virtlease.client.sessions.aio import Session, SessionManager

__all__ = ["Session", "SessionManager"]
