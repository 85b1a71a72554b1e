"""Sessions for programs without an event loop: every statement is acknowledged before the next one runs."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from virtlease.client.errors import SessionConflict
from virtlease.client.loop_thread import LoopThread
from virtlease.client.sessions.calls import SessionCalls, State
from virtlease.client.sessions.open import OpenSessions
from virtlease.client.sessions.retry import pauses
from virtlease.client.sessions.session import BaseSession
from virtlease.client.target import Target
from virtlease.client.trace import traceparent

T = TypeVar("T")


class Session(BaseSession):
    """A session whose every change has reached the service when the statement that makes it ends.

    `session["vms"].append("a")` is an append for the service too, so that any number of programs can append to one
    list; a change deeper inside a value replaces the whole value, unless somebody else changed it in the meantime.
    """

    def __init__(self, thread: LoopThread, calls: SessionCalls, state: State) -> None:
        self._lock = threading.RLock()
        super().__init__(thread, calls, state, self._lock)
        self._buffering = False
        self._draft.changed = self._flush

    def reload(self) -> None:
        """Reads all values anew. Lists and dicts that were taken from the session before are not of it any more."""
        self._thread.run(self._reload(traceparent()))

    def update(self, change: Any = (), /, **more: Any) -> Any:
        """Makes several changes at once: all of them, or none.

        With a function: calls it with the session, writes what it changed, and returns what it returns. When somebody
        else changed what it read, the session is read anew and the function called again, 30 times at most; so it
        should do nothing but change the session. With a mapping, pairs or names: as `dict.update`.

        Raises SessionConflict when others were faster each time.
        """
        if not callable(change):
            return self._at_once(lambda session: super().update(change, **more))
        for pause in pauses():
            try:
                return self._at_once(change)
            except SessionConflict:
                time.sleep(pause)
        return self._at_once(change)

    def clear(self) -> None:
        """Removes all keys at once."""
        self._at_once(lambda session: super().clear())

    def _at_once(self, change: Callable[["Session"], T]) -> T:
        with self._lock:
            self._buffering = True
            try:
                result = change(self)
            except BaseException:
                self._draft.forget()
                raise
            finally:
                self._buffering = False
            self._flush()
            return result

    def _flush(self) -> None:
        if not self._buffering and (batch := self._draft.take()):
            self._thread.run(self._commit(batch, traceparent()))


class SessionManager:
    """Creates, finds and ends sessions. The service is in this process, or wherever `target` says.

    A manager opens the service at its first call and closes it with `close`, with the end of its `with` block, or with
    the process. It may be used by many threads.
    """

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
        """
        Args:
            ttl: how long a new session lives without being used, in seconds.
            cleanup_interval: embedded: how often what is remembered of ended sessions is purged, in seconds.
            max_life: how long a new session lives in any case, in seconds; the service's greatest (a day) when absent.
            data_dir: embedded: a folder in which sessions outlive the process. In memory when absent.
            target: the session service. When absent, the one of VIRTLEASE_CLIENT_SESSION_TARGET; without that, one in
                this process, which needs `virtlease[server]`.
            timeout: how long any call may take, in seconds.
        """
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
    ) -> Session:
        """The session of that id; created, with these values and labels, where there is none.

        Without an id there is a new session, whose id nobody can guess. `ttl` in seconds, instead of the manager's.
        """
        opened = self._sessions.get_or_create(session_id or "", ttl, labels, values, traceparent())
        return Session(self._thread, *self._thread.run(opened))

    def get(self, session_id: str) -> Session | None:
        """The session, which counts as a use of it; None where there is none, or no more."""
        found = self._thread.run(self._sessions.find(session_id, traceparent()))
        return None if found is None else Session(self._thread, *found)

    def refresh(self, session_id: str, ttl: float | None = None) -> float:
        """Gives the session its time to live again, or another one in seconds. Returns the seconds that are left.

        Raises SessionExpired, SessionEnded or SessionNotFound.
        """
        return self._thread.run(self._sessions.refresh(session_id, ttl, traceparent()))

    def end_session(self, session_id: str) -> bool:
        """Ends the session for good. Returns whether there was one to end."""
        return self._thread.run(self._sessions.end(session_id, traceparent()))

    def close(self) -> None:
        """Closes the way to the service, and the service if it is in this process."""
        self._thread.run(self._sessions.resource.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
