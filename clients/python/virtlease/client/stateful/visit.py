"""One call of a stateful tool, from the session's opening to what the caller is answered."""

from typing import Any

import grpc

from virtlease.client.errors import SessionNotFound
from virtlease.client.sessions.aio import Session
from virtlease.client.sessions.calls import SessionCalls, State
from virtlease.client.sessions.draft import Batch
from virtlease.client.sessions.open import OpenSessions
from virtlease.client.stateful.caller import caller


class Visit:
    """The coroutines are for the loop thread."""

    def __init__(self, sessions: OpenSessions, session_id: str | None, ttl: float) -> None:
        self._sessions = sessions
        self._ttl = ttl
        self._caller = caller()
        self._choice = self._caller.choose(session_id)
        self._session: Session | None = None
        self.thread = sessions.resource.thread

    async def begin(self, traceparent: str) -> Session:
        """Opens the session."""
        try:
            calls, state = await self._open(traceparent)
        except SessionNotFound as error:
            raise self._caller.refuse(error) from None
        self._session = Session(self.thread, calls, state)
        return self._session

    async def finish(self, batch: Batch, traceparent: str) -> None:
        """Writes what the function changed."""
        assert self._session is not None
        if batch:
            await self._session._commit(batch, traceparent)

    async def give_up(self, traceparent: str) -> None:
        """The function raised: a session that was made for this call, and that nobody knows of, is ended."""
        if not self._choice.session_id and self._session is not None:
            await self._sessions.end(self._session.id, traceparent)

    def asks(self, result: Any) -> bool:
        """Whether the call is not over: it ends with a question, and writes nothing."""
        return self._caller.asks(result)

    def answer(self, result: Any) -> Any:
        """What the caller gets."""
        assert self._session is not None
        return self._caller.answer(result, None if self._choice.told else self._session.id)

    async def _open(self, traceparent: str) -> tuple[SessionCalls, State]:
        choice = self._choice
        if not choice.must_exist:
            return await self._sessions.get_or_create(choice.session_id, self._ttl, choice.labels, None, traceparent)
        found = await self._sessions.get(choice.session_id, traceparent)
        if choice.labels.items() <= found[1].labels.items():
            return found
        raise SessionNotFound(
            grpc.StatusCode.NOT_FOUND, f"there is no session {choice.session_id!r}", "SESSION_NOT_FOUND"
        )
