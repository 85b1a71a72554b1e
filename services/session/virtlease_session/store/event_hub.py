"""Changes of sessions on their way to watchers in the same process.

Each owner that is watched has a log of the newest changes. A watcher is a position in it: a slow one holds no memory,
and is told when what it would read next is gone. An owner that nobody watches has no log, and costs nothing.
"""

import asyncio
import base64
import json
import secrets
from collections import deque
from collections.abc import Callable

from virtlease_chassis.errors import InvalidArgument
from virtlease_session.errors import Compacted, WatcherTooSlow
from virtlease_session.model import Event

LINGER_SECONDS = 600.0


class OwnerLog:
    """The newest changes of one owner's sessions, numbered from 1."""

    def __init__(self, size: int) -> None:
        self.epoch = secrets.token_hex(4)
        self.last = 0
        self._entries: deque[Event] = deque(maxlen=size)
        self._changed = asyncio.Event()
        self.watchers = 0
        self.left_at = 0.0
        """When the last watcher left, on the clock of the event loop."""

    @property
    def first(self) -> int:
        """The number of the oldest change that is kept, or of the next one if none is."""
        return self.last - len(self._entries) + 1

    def append(self, event: Event) -> None:
        self._entries.append(event)
        self.last += 1
        self._changed.set()

    def after(self, position: int, most: int) -> list[Event]:
        """The changes that follow a position, `most` at most."""
        start = position + 1 - self.first
        return [self._entries[index] for index in range(start, min(start + most, len(self._entries)))]

    async def wait_beyond(self, position: int, seconds: float) -> None:
        """Returns when there is a change after the position, or when the time is up."""
        try:
            async with asyncio.timeout(seconds):
                while self.last <= position:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass


class HubWatcher:
    """See `ports.Watcher`."""

    _BATCH = 256

    def __init__(self, log: OwnerLog, position: int, leave: Callable[[], None]) -> None:
        self._log = log
        self._position = position
        self._leave = leave
        log.watchers += 1

    @property
    def token(self) -> str:
        return _encode(self._log.epoch, self._position)

    async def events(self, wait: float) -> list[Event]:
        await self._log.wait_beyond(self._position, wait)
        if self._position + 1 < self._log.first:
            raise WatcherTooSlow
        found = self._log.after(self._position, self._BATCH)
        self._position += len(found)
        return found

    def close(self) -> None:
        self._log.watchers -= 1
        self._leave()


class EventHub:
    """The logs of all owners that are watched, or were a while ago."""

    def __init__(self, history: int) -> None:
        """`history` is how many changes of one owner are kept."""
        self._history = history
        self._logs: dict[str, OwnerLog] = {}

    def publish(self, event: Event) -> None:
        """Tells the owner's watchers of a change."""
        log = self._logs.get(event.owner)
        if log is not None:
            log.append(event)

    def watches(self, owner: str) -> bool:
        """Whether anybody would be told of a change of this owner's."""
        return owner in self._logs

    def watch(self, owner: str, token: str) -> HubWatcher:
        """See `ports.SessionStore.watch`."""
        log = self._logs.get(owner)
        position = None
        if token:
            epoch, position = _decode(token)
            # A log that was dropped, or that another life of this process had, has changes that nobody knows.
            if log is None or log.epoch != epoch or position + 1 < log.first:
                raise Compacted
            if position > log.last:
                raise InvalidArgument("resume_token", "not a token of this service")
        if log is None:
            log = self._logs[owner] = OwnerLog(self._history)
        return HubWatcher(log, log.last if position is None else position, lambda: self._left(owner))

    @property
    def watchers(self) -> int:
        """How many watchers there are."""
        return sum(log.watchers for log in self._logs.values())

    def _left(self, owner: str) -> None:
        """Keeps the log for a while, for those who come back."""
        loop = asyncio.get_running_loop()
        self._logs[owner].left_at = loop.time()
        loop.call_later(LINGER_SECONDS, self._drop_if_alone, owner, self._logs[owner])

    def _drop_if_alone(self, owner: str, log: OwnerLog) -> None:
        alone_for = asyncio.get_running_loop().time() - log.left_at
        if not log.watchers and alone_for >= LINGER_SECONDS and self._logs.get(owner) is log:
            del self._logs[owner]


def _encode(epoch: str, position: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([epoch, position]).encode()).decode()


def _decode(token: str) -> tuple[str, int]:
    try:
        epoch, position = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError) as error:
        raise InvalidArgument("resume_token", "not a token of this service") from error
    if not isinstance(epoch, str) or type(position) is not int or position < 0:
        raise InvalidArgument("resume_token", "not a token of this service")
    return epoch, position
