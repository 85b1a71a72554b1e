"""Who hears of what: a bus for each user, and the feeds that are open as long as somebody of theirs listens."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated

from virtlease_chassis.identity import Principal

Tell = Callable[[str], Awaitable[None]]
"""Is told the URI of each resource that changed."""

Wanted = Callable[[], Iterable[str]]
"""Returns the URIs that somebody wants to hear of."""


class Source(Protocol):
    """Tells of changes in the name of a user, until it is cancelled."""

    async def run(self, user: Principal, tell: Tell, wanted: Wanted) -> None:
        """Tells of each change, and of all that is wanted when changes may have been missed."""
        ...


class UserBus:
    """What one user's clients listen to. Nobody hears of what another user may see."""

    def __init__(self, user: Principal, sources: Sequence[Source]) -> None:
        self.bus = InMemorySubscriptionBus()
        self.listen = ListenHandler(self.bus)
        self._user = user
        self._sources = sources
        self._wanted: Counter[str] = Counter()
        self._feeds: list[asyncio.Task[None]] = []

    @property
    def idle(self) -> bool:
        """Whether nobody wants to hear of anything."""
        return not self._wanted

    def want(self, uris: Iterable[str]) -> None:
        """Somebody wants to hear of these; the first one opens the feeds."""
        self._wanted.update(uris)
        if self._wanted and not self._feeds:
            self._feeds = [
                asyncio.create_task(source.run(self._user, self._tell, self._uris)) for source in self._sources
            ]

    def drop(self, uris: Iterable[str]) -> None:
        """They no longer do; the last one closes the feeds."""
        self._wanted.subtract(uris)
        self._wanted = +self._wanted
        if self.idle:
            for feed in self._feeds:
                feed.cancel()
            self._feeds = []

    async def _tell(self, uri: str) -> None:
        if uri in self._wanted:
            await self.bus.publish(ResourceUpdated(uri=uri))

    def _uris(self) -> list[str]:
        return list(self._wanted)


class Hub:
    """The buses of those users who listen at the moment."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._buses: dict[str, UserBus] = {}

    def want(self, user: Principal, uris: Iterable[str]) -> UserBus:
        """The user's bus, on which these URIs will be told until `drop`."""
        bus = self._buses.get(user.name)
        if bus is None:
            bus = self._buses[user.name] = UserBus(user, self._sources)
        bus.want(uris)
        return bus

    def drop(self, user: Principal, uris: Iterable[str]) -> None:
        """Takes `want` back."""
        bus = self._buses.get(user.name)
        if bus is not None:
            bus.drop(uris)
            if bus.idle:
                del self._buses[user.name]
