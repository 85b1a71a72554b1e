"""A session as a mapping: what the synchronous one and its asynchronous twin share."""

import asyncio
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import grpc

from virtlease.client.errors import SessionConflict, SessionEnded
from virtlease.client.loop_thread import LoopThread
from virtlease.client.sessions.calls import SessionCalls, State
from virtlease.client.sessions.draft import Batch, Draft, begins_a_list


class BaseSession(MutableMapping[str, Any]):
    """A session's values by key. Reads are of the values as they were when the session was got, or last reloaded.

    Use one session object in one task or thread at a time; get the session twice to use it in two.
    """

    def __init__(
        self, thread: LoopThread, calls: SessionCalls, state: State, lock: AbstractContextManager[Any] | None = None
    ) -> None:
        self._thread = thread
        self._calls = calls
        self._state = state
        self._deadline = state.deadline
        self._draft = Draft(state.texts, lock)
        self._committing: asyncio.Lock | None = None

    @property
    def id(self) -> str:
        """The id by which the session is got again. Whoever has it can use the session, within the same owner."""
        return self._state.session_id

    @property
    def data(self) -> dict[str, Any]:
        """A copy of all values."""
        return self._draft.plain()

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels given at its creation."""
        return dict(self._state.labels)

    @property
    def ttl_remaining(self) -> float:
        """Seconds until the session expires unless it is used before; 0 when the time is up."""
        return self._deadline.remaining

    @property
    def expires_at(self) -> datetime:
        """The same as a time of day, on the service's clock, in UTC."""
        return self._deadline.expires_at

    def __getitem__(self, key: str) -> Any:
        return self._draft.read(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._draft.assign(_checked(key), value)

    def __delitem__(self, key: str) -> None:
        self._draft.delete(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._draft.has(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._draft.keys())

    def __len__(self) -> int:
        return len(self._draft.keys())

    def __bool__(self) -> bool:
        """True, also for a session without values: it is there."""
        return True

    def setdefault(self, key: str, default: Any = None) -> Any:
        """See `dict.setdefault`; what is returned is of the session, so that its changes are kept."""
        if key not in self:
            self[key] = default
        return self[key]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} keys, {self.ttl_remaining:.0f} s left>"  # the id is a secret

    async def _commit(self, batch: Batch, traceparent: str) -> None:
        """Writes a batch, all of it or nothing. On the loop thread.

        After a failure nothing that was not written is kept; after a conflict everything is read anew.
        """
        self._committing = self._committing or asyncio.Lock()
        async with self._committing:
            try:
                if doubtful := self._draft.doubtful(batch):
                    found = await self._calls.get(self.id, traceparent, doubtful)
                    if (key := self._draft.confirm(doubtful, found.texts)) is not None:
                        raise _conflict(key)
                mutations = self._draft.mutations(batch)
                self._deadline = await self._calls.update(self.id, self._state.incarnation, mutations, traceparent)
                self._draft.written(batch)
            except SessionConflict as error:
                await self._reload(traceparent)
                key = error.metadata.get("key", "")
                if not (begins_a_list(batch, key) and key in self and isinstance(self[key], list)):
                    raise error.advised("read it again, or write with update(fn), which does it over") from None
            except BaseException:
                self._draft.forget()
                raise

    async def _reload(self, traceparent: str) -> None:
        """Reads everything anew, and forgets what was not written. On the loop thread."""
        state = await self._calls.get(self.id, traceparent)
        if state.incarnation != self._state.incarnation:
            raise SessionEnded(
                grpc.StatusCode.NOT_FOUND, "the session was ended, and another one has its id now", "SESSION_ENDED"
            )
        self._state, self._deadline = state, state.deadline
        self._draft.load(state.texts)


def _conflict(key: str) -> SessionConflict:
    return SessionConflict(
        grpc.StatusCode.ABORTED, f"{key!r} has been changed since", "SESSION_CONFLICT", metadata={"key": key}
    )


def _checked(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of a session is text, not {type(key).__name__}")
    return key
