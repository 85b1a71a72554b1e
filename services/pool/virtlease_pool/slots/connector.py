"""Connections that each have a claim on a slot."""

from collections.abc import Callable
from typing import Generic, TypeVar

from virtlease_pool.core import Connector
from virtlease_pool.slots.claim import Claim, Slots

C = TypeVar("C")


class ClaimingConnector(Generic[C]):
    """See `core.Connector`: another one, behind the slots of its hypervisor."""

    def __init__(self, connector: Connector[C], slots: Slots, hypervisor: str, cap: Callable[[], int]) -> None:
        """`cap` says how many slots the hypervisor has now."""
        self._connector = connector
        self._slots = slots
        self._hypervisor = hypervisor
        self._cap = cap
        self._claims: dict[int, Claim] = {}

    async def open(self) -> C:
        claim = await self._slots.claim(self._hypervisor, self._cap())
        try:
            connection = await self._connector.open()
        except BaseException:
            await self._slots.give_back(claim)
            raise
        self._claims[id(connection)] = claim
        return connection

    def fault(self, connection: C) -> str:
        if self._claims[id(connection)].lost:
            return "slot_lost"
        return self._connector.fault(connection)

    async def check(self, connection: C) -> bool:
        return await self._connector.check(connection)

    async def close(self, connection: C) -> None:
        # What hangs in libvirt is still a connection there: the slot is free when it has come back.
        await self._connector.close(connection)
        await self._slots.give_back(self._claims.pop(id(connection)))
