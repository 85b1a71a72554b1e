"""Sessions for programs with an event loop: changes are gathered, and written together."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from virtlease.client.errors import SessionConflict
from virtlease.client.sessions.open import OpenSessions
from virtlease.client.sessions.retry import pauses
from virtlease.client.sessions.session import BaseSession
from virtlease.client.target import Target
from virtlease.client.trace import traceparent


class Session(BaseSession):
    """A session whose changes are written by `commit`, or at the end of `async with session`, all of them or none.

    Leaving the block by an exception writes nothing. See `virtlease.Session` for what becomes of appends and of
    changes deep inside a value.
    """

    async def commit(self) -> None:
        """Writes what was changed. Raises SessionConflict when somebody else changed what was read before."""
        if batch := self._draft.take():
            await self._thread.wait(self._commit(batch, traceparent()))

    async def reload(self) -> None:
        """Reads all values anew, and forgets what was not written."""
        await self._thread.wait(self._reload(traceparent()))

    def update(self, change: Any = (), /, **more: Any) -> Any:
        """With a function, sync or async: an awaitable that calls it with the session and writes what it changed, over
        again when somebody else changed what it read; see `virtlease.Session.update`. Otherwise as `dict.update`.
        """
        if callable(change):
            return self._until_written(change)
        return super().update(change, **more)

    async def _until_written(self, change: Callable[[Self], Any]) -> Any:
        for pause in pauses():
            try:
                return await self._at_once(change)
            except SessionConflict:
                await asyncio.sleep(pause)
        return await self._at_once(change)

    async def _at_once(self, change: Callable[[Self], Any]) -> Any:
        await self.commit()  # what was changed before is not the function's, and is not to be done over
        try:
            result = change(self)
            if inspect.isawaitable(result):
                result = await result
        except BaseException:
            self._draft.forget()
            raise
        await self.commit()
        return result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.commit()
        else:
            self._draft.forget()


class Opening:
    """A session that is on its way: `await` it, or enter it with `async with`."""

    def __init__(self, session: Awaitable[Session]) -> None:
        self._coming = session
        self._session: Session | None = None

    def __await__(self) -> Generator[Any, None, Session]:
        return self._coming.__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._coming
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.__aexit__(kind, error, trace)


class SessionManager:
    """The asynchronous twin of `virtlease.SessionManager`. It may be used by many event loops and threads."""

    def __init__(
        self,
        ttl: float = 3600,
        cleanup_interval: float = 300,
        *,
        max_life: float | None = None,
        data_dir: Path | str | None = None,
        target: Target | str | None = None,
        timeout: float = 10.0,
    ) -> None:
        """See `virtlease.SessionManager`."""
        found = Target.find(target, "session")
        self._sessions = OpenSessions(ttl, cleanup_interval, max_life, data_dir, found, timeout)
        self._thread = self._sessions.resource.thread

    def get_or_create(
        self,
        session_id: str | None = None,
        *,
        ttl: float | None = None,
        labels: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> Opening:
        """See `virtlease.SessionManager.get_or_create`. Await it, or enter it: leaving the block commits."""

        async def opened() -> Session:
            coming = self._sessions.get_or_create(session_id or "", ttl, labels, values, traceparent())
            return Session(self._thread, *await self._thread.wait(coming))

        return Opening(opened())

    async def get(self, session_id: str) -> Session | None:
        """The session, which counts as a use of it; None where there is none, or no more."""
        found = await self._thread.wait(self._sessions.find(session_id, traceparent()))
        return None if found is None else Session(self._thread, *found)

    async def refresh(self, session_id: str, ttl: float | None = None) -> float:
        """See `virtlease.SessionManager.refresh`."""
        return await self._thread.wait(self._sessions.refresh(session_id, ttl, traceparent()))

    async def end_session(self, session_id: str) -> bool:
        """Ends the session for good. Returns whether there was one to end."""
        return await self._thread.wait(self._sessions.end(session_id, traceparent()))

    async def close(self) -> None:
        """Closes the way to the service, and the service if it is in this process."""
        await self._thread.wait(self._sessions.resource.aclose())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
