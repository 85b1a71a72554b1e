"""What both pools are: a way to the service, and the leases that are held of it."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from virtlease.client.embedded import embedded_pool
from virtlease.client.loop_thread import Resource
from virtlease.client.pool.calls import Metadata
from virtlease.client.pool.keeper import HeldLease, LeaseKeeper, Ticket, lease_keeper
from virtlease.client.target import Target
from virtlease.pool.v1 import hypervisor_pb2

_SHORTEST_TTL = 3.0
_LONGEST_TTL = 300.0


class OpenPool:
    """The use cases, as coroutines for the loop thread. The service is opened at the first of them."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        target: Target | None,
        acquire_timeout: float,
        lease_ttl: float,
        purpose: str,
        timeout: float,
    ) -> None:
        """`settings` are those of an embedded service."""
        if not _SHORTEST_TTL <= lease_ttl <= _LONGEST_TTL:
            raise ValueError(f"lease_ttl: between {_SHORTEST_TTL:g} and {_LONGEST_TTL:g} seconds, not {lease_ttl:g}")
        self.acquire_timeout = acquire_timeout
        self.timeout = timeout
        self.resource = Resource("connection pool", lambda: _opened(settings, target, lease_ttl, purpose))

    async def acquire(self, ticket: Ticket, vm_id: str, traceparent: str) -> tuple[LeaseKeeper, HeldLease]:
        """A lease of a connection to the VM's hypervisor, and who keeps it."""
        keeper = await self.resource.get()
        return keeper, await keeper.acquire(ticket, vm_id, self.acquire_timeout, traceparent)

    async def abandon(self, ticket: Ticket) -> None:
        """Nobody waits for the ticket's lease any more."""
        keeper = await self.resource.get()
        keeper.abandon(ticket)

    async def release(self, lease: HeldLease, traceparent: str) -> None:
        """Gives a lease back. After the pool was closed, that has been done."""
        if not lease.released:
            keeper = await self.resource.get()
            await keeper.release(lease, traceparent)

    async def stats(self, trace: Metadata) -> list[hypervisor_pb2.PoolStats]:
        """How busy the pools of the hypervisors are."""
        keeper = await self.resource.get()
        return await keeper.calls.stats(self.timeout, trace)


def embedded_settings(
    max_size: int,
    ttl: float,
    max_usage: int,
    hypervisor_uri: str | None,
    hypervisors_file: Path | str | None,
    acquire_timeout: float,
) -> dict[str, Any]:
    """The settings of an embedded service; those that are not given stay as the environment has them."""
    settings: dict[str, Any] = {
        "max_size": max_size,
        "idle_ttl": ttl,
        "max_usage": max_usage,
        "acquire_timeout": acquire_timeout,
    }
    if hypervisor_uri is not None:
        settings["hypervisor_uri"] = hypervisor_uri
    if hypervisors_file is not None:
        settings["hypervisors_file"] = hypervisors_file
    return settings


def check_given_back(vm_id: str, wanted: str, *, ours: bool) -> None:
    """Raises ValueError unless a connection is released where it was got, for the VM it was got for."""
    if not ours:
        raise ValueError("connection: it is not of this pool")
    if vm_id != wanted:
        raise ValueError(f"vm_id: the connection was got for {wanted!r}, not for {vm_id!r}")


@contextlib.asynccontextmanager
async def _opened(
    settings: Mapping[str, Any], target: Target | None, lease_ttl: float, purpose: str
) -> AsyncIterator[LeaseKeeper]:
    async with contextlib.AsyncExitStack() as stack:
        if target is None:
            target = await stack.enter_async_context(embedded_pool(settings))
        yield await stack.enter_async_context(lease_keeper(target, lease_ttl, purpose))
