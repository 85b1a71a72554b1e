"""What happened, in order, kept for a while: those who watch read it at their own pace, and can go on from a token."""

import asyncio
import itertools
import secrets
from collections import deque
from typing import Generic, TypeVar

from virtlease_chassis.errors import InvalidArgument
from virtlease_pool.errors import Compacted

E = TypeVar("E")

_MOST_EVENTS = 10_000
_MOST_AT_ONCE = 500


class EventLog(Generic[E]):
    """The newest events of this life of the process. Belongs to the event loop on which it is made."""

    def __init__(self, most: int = _MOST_EVENTS) -> None:
        self._loop = asyncio.get_running_loop()
        self._life = secrets.token_hex(4)
        self._events: deque[E] = deque(maxlen=most)
        self._end = 0
        self._news: asyncio.Future[None] = self._loop.create_future()

    def append(self, event: E) -> None:
        """Adds an event; the oldest is dropped when there are too many."""
        self._events.append(event)
        self._end += 1
        if not self._news.done():
            self._news.set_result(None)

    def cursor(self, token: str) -> "Cursor[E]":
        """Reads from a token on; from now on without one.

        Raises InvalidArgument for what is none, and Compacted when what follows it is no longer kept.
        """
        if not token:
            return Cursor(self, self._end)
        life, _, position = token.partition("-")
        if not position.isdecimal() or len(position) > 18:
            raise InvalidArgument("resume_token", "not a token of a former watch")
        if life != self._life or not self._begin <= int(position) <= self._end:
            raise Compacted
        return Cursor(self, int(position))

    @property
    def _begin(self) -> int:
        return self._end - len(self._events)

    def _after(self, position: int) -> list[E]:
        if position < self._begin:
            raise Compacted
        start = position - self._begin
        return list(itertools.islice(self._events, start, start + _MOST_AT_ONCE))

    async def _wait(self, timeout: float) -> None:
        if self._news.done():
            self._news = self._loop.create_future()
        await asyncio.wait((self._news,), timeout=timeout)


class Cursor(Generic[E]):
    """How far one watcher has read."""

    def __init__(self, log: EventLog[E], position: int) -> None:
        self._log = log
        self._position = position

    @property
    def token(self) -> str:
        """Stands for everything that was read."""
        return f"{self._log._life}-{self._position}"

    async def events(self, timeout: float) -> list[E]:
        """What comes next: at once if there is something, else as soon as there is. Empty after `timeout` seconds.

        Raises Compacted when events were dropped that this watcher had not read.
        """
        if self._position == self._log._end:
            await self._log._wait(timeout)
        events = self._log._after(self._position)
        self._position += len(events)
        return events
