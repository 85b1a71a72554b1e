"""State for any FastMCP server, kept by the session service: `FastMCP(session_state_store=SessionStore(address))`."""

from virtlease.client.key_value import SessionStore

__all__ = ["SessionStore"]
