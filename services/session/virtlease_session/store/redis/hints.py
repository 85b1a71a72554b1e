"""Messages that say in which shards an owner's sessions have changed. They save looking everywhere, and can be lost."""

from collections.abc import Callable, Iterable
from typing import Any

from virtlease_session.session_id import SHARDS
from virtlease_session.store.redis.keys import Keys
from virtlease_session.store.redis.topology import Topology

Hint = Callable[[Iterable[int]], None]

ALL_SHARDS = frozenset(range(SHARDS))


class Hints:
    """Who wants to be told of which owner. In a cluster every server passes on the messages of all."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._wanted: dict[str, set[Hint]] = {}
        self._topology: Topology | None = None

    def follow(self, topology: Topology) -> None:
        """Takes messages from these servers from now on."""
        self._topology = topology

    def add(self, owner: str, hint: Hint) -> None:
        """Calls `hint` with the shards in which something changed."""
        wanted = self._wanted.setdefault(owner, set())
        if not wanted:
            self._tell("SUBSCRIBE", owner)
        wanted.add(hint)

    def remove(self, owner: str, hint: Hint) -> None:
        self._wanted[owner].discard(hint)
        if not self._wanted[owner]:
            del self._wanted[owner]
            self._tell("UNSUBSCRIBE", owner)

    def subscribe_again(self) -> None:
        """After a connection was made: asks for messages on it, and has everybody look everywhere."""
        for owner, wanted in self._wanted.items():
            self._tell("SUBSCRIBE", owner)
            for hint in wanted:
                hint(ALL_SHARDS)

    def pushed(self, message: list[Any]) -> None:
        """Takes a message: its kind, its channel, and the name of the stream in which there is something new."""
        if message[0] != "message":
            return
        channel, stream = message[1], message[2]
        owner = channel[len(self._keys.channel) :]
        shard = self._keys.shard_of_changes(stream)
        for hint in self._wanted.get(owner, ()):
            hint((shard,))

    def _tell(self, word: str, owner: str) -> None:
        if self._topology is None:
            return
        link = self._topology.node_of(0).link
        if link is not None:
            link.tell((word, self._keys.channel + owner))
