"""What both session managers are: a way to the service, and what new sessions are created with."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from virtlease.client.embedded import embedded_sessions
from virtlease.client.errors import SessionNotFound
from virtlease.client.loop_thread import Resource
from virtlease.client.sessions.calls import SessionCalls, State, Terms, session_calls
from virtlease.client.sessions.json_text import to_text
from virtlease.client.target import Target


class OpenSessions:
    """The use cases, as coroutines for the loop thread. The service is opened at the first of them."""

    def __init__(
        self,
        ttl: float,
        cleanup_interval: float,
        max_life: float | None,
        data_dir: Path | str | None,
        target: Target | None,
        timeout: float,
    ) -> None:
        self._terms = Terms(ttl=ttl, max_life=max_life)
        embedded = {
            "idle_ttl": ttl,
            "cleanup_interval": cleanup_interval,
            "data_dir": data_dir,
            "max_life": max(max_life or 0, ttl, _LONGEST),
        }
        self.resource = Resource("session manager", lambda: _opened(embedded, target, timeout))

    async def get_or_create(
        self,
        session_id: str,
        ttl: float | None,
        labels: Mapping[str, str] | None,
        values: Mapping[str, Any] | None,
        traceparent: str,
    ) -> tuple[SessionCalls, State]:
        """The session and the calls that it is used with."""
        calls = await self.resource.get()
        texts = {key: to_text(value, f"values[{key!r}]") for key, value in (values or {}).items()}
        terms = Terms(ttl or self._terms.ttl, self._terms.max_life, texts, labels)
        return calls, await calls.get_or_create(session_id, terms, traceparent)

    async def get(self, session_id: str, traceparent: str) -> tuple[SessionCalls, State]:
        """The same, for a session that is there. Raises SessionNotFound, SessionExpired or SessionEnded."""
        calls = await self.resource.get()
        return calls, await calls.get(session_id, traceparent)

    async def find(self, session_id: str, traceparent: str) -> tuple[SessionCalls, State] | None:
        """The same, or None where there is no such session, be it that it expired or was ended."""
        try:
            return await self.get(session_id, traceparent)
        except SessionNotFound:
            return None

    async def refresh(self, session_id: str, ttl: float | None, traceparent: str) -> float:
        """Moves the deadline. Returns the seconds that are left."""
        calls = await self.resource.get()
        return (await calls.refresh(session_id, ttl, traceparent)).remaining

    async def end(self, session_id: str, traceparent: str) -> bool:
        """Ends the session. Returns whether there was one to end."""
        calls = await self.resource.get()
        try:
            await calls.end(session_id, traceparent)
        except SessionNotFound:
            return False
        return True


_LONGEST = 86_400.0


@contextlib.asynccontextmanager
async def _opened(embedded: Mapping[str, Any], target: Target | None, timeout: float) -> AsyncIterator[SessionCalls]:
    async with contextlib.AsyncExitStack() as stack:
        if target is None:
            target = await stack.enter_async_context(embedded_sessions(embedded))
        yield await stack.enter_async_context(session_calls(target, timeout))
