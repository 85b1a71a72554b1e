"""Which server has a shard: the one there is, the one that the sentinels name, or one of a cluster."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from virtlease_chassis.redis_url import Address, Kind, Target
from virtlease_session.store.redis.link import Lost, ReplyError
from virtlease_session.store.redis.node import Node

_REFRESH_SECONDS = 0.2

MakeNode = Callable[[Callable[[], Awaitable[Address]], bool, Callable[[], None]], Node]

log = logging.getLogger(__name__)


class Topology(Protocol):
    """The servers, and where the shards are among them."""

    @property
    def nodes(self) -> Iterable[Node]:
        """Every server that is in use."""
        ...

    async def open(self) -> None:
        """Connects; returns when it did, or when it was seen that it cannot for now."""
        ...

    def node_of(self, shard: int) -> Node:
        """The server that has a shard."""
        ...

    def node_at(self, address: Address) -> Node:
        """The server at an address that another one named."""
        ...

    def moved(self, shard: int, address: Address) -> None:
        """A server said that another one has the shard now."""
        ...

    def close(self) -> None:
        """Closes all connections."""
        ...


def make_topology(target: Target, slots: tuple[int, ...], make_node: MakeNode, changed: Callable[[], None]) -> Topology:
    """The topology that the target has.

    Args:
        slots: the cluster's slot of each shard.
        make_node: makes a node from a way to find its address, whether it must be a primary, and what to call when it
            was lost or found.
        changed: is called when a server was lost or found.
    """
    if target.kind is Kind.CLUSTER:
        return Cluster(target.addresses, slots, make_node, changed)
    if target.kind is Kind.SENTINEL:
        return OneServer(make_node(_ask_sentinels(target), True, changed))
    return OneServer(make_node(_always(target.addresses[0]), True, changed))


class OneServer:
    """Everything is in one place."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.nodes: tuple[Node, ...] = (node,)

    async def open(self) -> None:
        await self._node.connected()

    def node_of(self, _shard: int) -> Node:
        return self._node

    def node_at(self, _address: Address) -> Node:
        return self._node

    def moved(self, _shard: int, _address: Address) -> None:
        pass

    def close(self) -> None:
        self._node.close()


class Cluster:
    """Redis Cluster. The map of slots is taken anew when a server redirects, or cannot be reached."""

    def __init__(
        self, seeds: tuple[Address, ...], slots: tuple[int, ...], make_node: MakeNode, changed: Callable[[], None]
    ) -> None:
        self._seeds = seeds
        self._slots = slots
        self._make_node = make_node
        self._changed = changed
        self._by_address: dict[Address, Node] = {}
        self._by_shard: list[Node] = [self.node_at(seeds[0])] * len(slots)
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def nodes(self) -> Iterable[Node]:
        return set(self._by_shard)

    async def open(self) -> None:
        if await self._refresh():
            await asyncio.gather(*(node.connected() for node in self.nodes))
        else:
            self._look_again()

    def node_of(self, shard: int) -> Node:
        return self._by_shard[shard]

    def node_at(self, address: Address) -> Node:
        node = self._by_address.get(address)
        if node is None:
            node = self._by_address[address] = self._make_node(_always(address), False, self._node_changed)
        return node

    def moved(self, shard: int, address: Address) -> None:
        self._by_shard[shard] = self.node_at(address)
        self._look_again()

    def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
        for node in self._by_address.values():
            node.close()

    def _node_changed(self) -> None:
        if not all(node.up for node in self.nodes):
            self._look_again()
        self._changed()

    def _look_again(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_until_up())

    async def _refresh_until_up(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            if await self._refresh() and all(node.up for node in self.nodes):
                break
        self._changed()

    async def _refresh(self) -> bool:
        """Takes the map from whichever server has one. Returns whether one had."""
        for address in dict.fromkeys((*self._by_address, *self._seeds)):
            node = self.node_at(address)
            with contextlib.suppress(Lost, ReplyError, TimeoutError):
                async with asyncio.timeout(1):
                    if await node.connected() and node.link is not None:
                        ranges = await node.link.call("CLUSTER", "SLOTS")
                        if self._apply(ranges, address):
                            return True
        return False

    def _apply(self, ranges: list[Any], asked: Address) -> bool:
        """Takes over what CLUSTER SLOTS said. Returns whether all slots are served."""
        found: list[Node] = []
        for slot in self._slots:
            for first, last, primary, *_ in ranges:
                if first <= slot <= last:
                    found.append(self.node_at((primary[0] or asked[0], primary[1])))
                    break
        if len(found) != len(self._slots):
            return False
        self._by_shard = found
        for address in [each for each, node in self._by_address.items() if node not in found and not node.busy]:
            self._by_address.pop(address).close()
        return True


def _always(address: Address) -> Callable[[], Awaitable[Address]]:
    async def locate() -> Address:
        return address

    return locate


def _ask_sentinels(target: Target) -> Callable[[], Awaitable[Address]]:
    async def locate() -> Address:
        options: dict[str, Any] = {"socket_timeout": 1.0}
        sentinel = Sentinel(list(target.addresses), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        try:
            host, port = await sentinel.discover_master(target.service)
        except RedisError as error:
            raise OSError(f"no sentinel knows the primary of {target.service}") from error
        finally:
            for each in sentinel.sentinels:
                await each.aclose()
        return str(host), int(port)

    return locate
