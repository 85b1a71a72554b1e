"""`@stateful_tool`: a function whose first parameter is a session."""

import functools
import inspect
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from virtlease.client.sessions import aio
from virtlease.client.sessions.manager import SessionManager
from virtlease.client.stateful.describe import describe
from virtlease.client.stateful.visit import Visit
from virtlease.client.trace import traceparent

F = TypeVar("F", bound=Callable[..., Any])
Manager = aio.SessionManager | SessionManager


def stateful_tool(*, ttl_seconds: float = 1800, manager: Manager | None = None) -> Callable[[F], Any]:
    """Gives a function a session as its first argument, `session`, and writes what it changed when it returns.

    The function, sync or async, is called without the session. By itself it takes the keyword `session_id`; without one
    it gets a new session, whose id `last_session` tells. As a FastMCP tool (`@mcp.tool` above this decorator) it has an
    optional argument `session_id`, and a call that began a session returns its id with the result; clients of the
    older protocol era have a session of their own, which is used when they pass none.

    Everything is written at once when the function returns, and nothing when it raises. SessionConflict says that
    somebody else changed meanwhile what the function had read: nothing of its state was written.

    Args:
        ttl_seconds: how long a new session lives without being used.
        manager: where the sessions are; by default one manager for all tools of this process, whose service is the one
            of VIRTLEASE_CLIENT_SESSION_TARGET, or else is embedded.
    """

    def decorate(function: F) -> Any:
        stateful = Stateful(function, ttl_seconds, manager)
        wrapper = stateful.asynchronous() if inspect.iscoroutinefunction(function) else stateful.synchronous()
        describe(wrapper, function, ttl_seconds)
        wrapper.__stateful__ = stateful
        return wrapper

    return decorate


def last_session(function: Callable[..., Any]) -> str | None:
    """The id of the session with which a stateful tool was last called: in this task or thread, or else anywhere.

    None when it was not called yet. Raises TypeError for a function that is no stateful tool.
    """
    stateful = getattr(function, "__stateful__", None)
    if not isinstance(stateful, Stateful):
        raise TypeError(f"{function!r} has no sessions: decorate it with @stateful_tool")
    return stateful.last_here.get() or stateful.last_anywhere


class Stateful:
    """One decorated function."""

    def __init__(self, function: Callable[..., Any], ttl: float, manager: Manager | None) -> None:
        self._function = function
        self._ttl = ttl
        self._manager = manager
        self.last_here: ContextVar[str | None] = ContextVar(f"session of {function.__name__}", default=None)
        self.last_anywhere: str | None = None

    def asynchronous(self) -> Any:
        """What is called instead of an async function."""

        @functools.wraps(self._function)
        async def call(*arguments: Any, session_id: str | None = None, **named: Any) -> Any:
            visit = self._visit(session_id)
            session = self._told(await visit.thread.wait(visit.begin(traceparent())))
            try:
                result = await self._function(session, *arguments, **named)
            except BaseException:
                visit.thread.submit(visit.give_up(traceparent()))  # also when the task is cancelled and cannot wait
                raise
            if visit.asks(result):
                visit.thread.submit(visit.give_up(traceparent()))
                return result
            await visit.thread.wait(visit.finish(session._draft.take(), traceparent()))
            return visit.answer(result)

        return call

    def synchronous(self) -> Any:
        """What is called instead of an ordinary function."""

        @functools.wraps(self._function)
        def call(*arguments: Any, session_id: str | None = None, **named: Any) -> Any:
            visit = self._visit(session_id)
            session = self._told(visit.thread.run(visit.begin(traceparent())))
            try:
                result = self._function(session, *arguments, **named)
            except BaseException:
                visit.thread.submit(visit.give_up(traceparent()))
                raise
            if visit.asks(result):
                visit.thread.submit(visit.give_up(traceparent()))
                return result
            visit.thread.run(visit.finish(session._draft.take(), traceparent()))
            return visit.answer(result)

        return call

    def _visit(self, session_id: str | None) -> Visit:
        manager = self._manager or _shared_manager()
        return Visit(manager._sessions, session_id, self._ttl)

    def _told(self, session: aio.Session) -> aio.Session:
        self.last_here.set(session.id)
        self.last_anywhere = session.id
        return session


_lock = threading.Lock()
_manager: aio.SessionManager | None = None


def _shared_manager() -> aio.SessionManager:
    """The manager of all tools that have none of their own, made at the first call; a fork makes another."""
    global _manager
    with _lock:
        if _manager is None or not _manager._thread.usable:
            _manager = aio.SessionManager()
        return _manager
