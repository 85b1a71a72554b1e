"""The other replicas: which there are, which of them serve, and which is the preferred owner of a hypervisor.

The preferred owner is chosen by rendezvous: every replica ranks all of them for a hypervisor by a hash of both names.
So all agree without a word, and when one goes only its own hypervisors move.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from virtlease_pool.leases.lease_id import replica_mark

_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
log = logging.getLogger(__name__)


class Peers:
    """All replicas, this one included."""

    def __init__(
        self, own: str, addresses: Mapping[str, str], open_channel: Callable[[str], grpc.aio.Channel], service: str
    ) -> None:
        """`addresses` says where each replica is reached, by name; `service` is whose health is asked."""
        self.own = own
        self._addresses = dict(addresses)
        self._service = service
        self._channels = {name: open_channel(address) for name, address in addresses.items() if name != own}
        self._marks = {replica_mark(name): name for name in addresses}
        self._serving: set[str] = set()
        self.draining = False
        """This replica takes no new work."""

    @property
    def address(self) -> str:
        """Where this replica is reached; empty when it is alone."""
        return self._addresses.get(self.own, "")

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return not self._channels

    @property
    def others(self) -> list[str]:
        """The others that serve."""
        return sorted(self._serving)

    def channel(self, name: str) -> grpc.aio.Channel:
        """Leads to another replica."""
        return self._channels[name]

    def holder_of(self, mark: bytes) -> str:
        """The replica that a lease id names, empty when it is none of these."""
        return self._marks.get(mark, "")

    def ranked(self, hypervisor: str) -> list[str]:
        """The replicas that take work, the preferred owner of a hypervisor first."""
        names = self._serving | (set() if self.draining else {self.own})
        return sorted(names, key=lambda name: _weight(name, hypervisor), reverse=True)

    def prefers_own(self, hypervisor: str) -> bool:
        """Whether this replica is the preferred owner."""
        return self.alone or self.ranked(hypervisor)[:1] == [self.own]

    def lost(self, name: str) -> None:
        """It did not answer: it is asked nothing until its health says otherwise."""
        self._serving.discard(name)

    async def look(self) -> None:
        """Asks all others once whether they serve."""
        await asyncio.gather(*(self._ask(name) for name in self._channels))

    async def keep(self) -> None:
        """Asks again and again. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def close(self) -> None:
        """Closes the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    async def _ask(self, name: str) -> None:
        stub: Any = health_pb2_grpc.HealthStub(self._channels[name])
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=self._service), timeout=_ANSWER_SECONDS)
            serves = answer.status == health_pb2.HealthCheckResponse.SERVING
        except grpc.aio.AioRpcError:
            serves = False
        if serves != (name in self._serving):
            log.info("the replica %s %s", name, "serves" if serves else "does not serve")
        (self._serving.add if serves else self._serving.discard)(name)


def parse_peers(text: str) -> dict[str, str]:
    """Reads `name=host:port` with commas between. Raises ValueError."""
    addresses: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, address = part.partition("=")
        if not equals or not name or not address.rpartition(":")[2].isdecimal():
            raise ValueError(f"{part!r} is not name=host:port")
        if name in addresses:
            raise ValueError(f"the name {name!r} stands there twice")
        addresses[name] = address
    return addresses


def _weight(name: str, hypervisor: str) -> bytes:
    return hashlib.blake2b(f"{name}\0{hypervisor}".encode(), digest_size=8).digest()
