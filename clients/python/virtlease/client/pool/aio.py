"""Leased connections for programs with an event loop."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any, Self

from virtlease.client.pool.execute import AsyncExecute
from virtlease.client.pool.keeper import Ticket
from virtlease.client.pool.open import OpenPool, check_given_back, embedded_settings
from virtlease.client.target import Target
from virtlease.client.trace import trace_metadata, traceparent
from virtlease.pool.v1 import hypervisor_pb2


class Connection(AsyncExecute):
    """A leased connection. Commands on it run one after the other, in the order in which they were asked for."""


class _Leasing:
    """A connection that is on its way: `await` it, or enter it with `async with`."""

    def __init__(self, pool: "ConnectionPool", vm_id: str) -> None:
        self._pool = pool
        self._vm_id = vm_id
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._pool._acquire(self._vm_id).__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._pool._acquire(self._vm_id)
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        assert self._connection is not None
        await self._pool._release(self._connection)


class ConnectionPool:
    """Connections to hypervisors, lent one at a time. The pool is in this process, or wherever `target` says.

    It opens the service at its first call and closes it with `close`, with the end of its `async with` block, or with
    the process. It may be used by many event loops and threads. What keeps leases alive has a thread of its own: a
    program that blocks its event loop loses none.
    """

    def __init__(
        self,
        max_size: int = 8,
        ttl: float = 300,
        max_usage: int = 100,
        *,
        hypervisor_uri: str | None = None,
        hypervisors_file: Path | str | None = None,
        target: Target | str | None = None,
        acquire_timeout: float = 30.0,
        lease_ttl: float = 15.0,
        purpose: str = "",
        timeout: float = 30.0,
    ) -> None:
        """See `virtlease.ConnectionPool`."""
        settings = embedded_settings(max_size, ttl, max_usage, hypervisor_uri, hypervisors_file, acquire_timeout)
        found = Target.find(target, "pool")
        self._pool = OpenPool(settings, found, acquire_timeout, lease_ttl, purpose, timeout)
        self._thread = self._pool.resource.thread

    def connection(self, vm_id: str) -> _Leasing:
        """A connection to the VM's hypervisor, for an `async with` block: leaving it gives the connection back,
        whatever happened. Raises as `get_connection` does."""
        return _Leasing(self, vm_id)

    async def get_connection(self, vm_id: str) -> Connection:
        """A connection to the hypervisor of a VM, which has to be given back by `release_connection`.

        `vm_id` is `hypervisor/name`; a bare name will do where there is one hypervisor. Waits in line for at most
        the pool's acquire_timeout. Cancelled, it leaves the line, and nothing stays behind.
        """
        return await self._acquire(vm_id)

    async def release_connection(self, vm_id: str, connection: Connection) -> None:
        """Gives a connection back. A second time does nothing. Raises ValueError for one of another VM or pool."""
        check_given_back(vm_id, connection.vm_id, ours=connection._pool is self._pool)
        await self._release(connection)

    async def stats(self) -> list[hypervisor_pb2.PoolStats]:
        """How many connections are idle, leased, opened and closed, and how many callers wait, by hypervisor."""
        return await self._thread.wait(self._pool.stats(trace_metadata()))

    async def close(self) -> None:
        """Gives back every connection, and closes the way to the service, and the service if it is in this process."""
        await self._thread.wait(self._pool.resource.aclose())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _acquire(self, vm_id: str) -> Connection:
        ticket = Ticket()
        future = self._thread.submit(self._pool.acquire(ticket, vm_id, traceparent()))
        try:
            keeper, lease = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._thread.submit(self._pool.abandon(ticket))
            raise
        return Connection(self._pool, keeper, lease, vm_id)

    async def _release(self, connection: Connection) -> None:
        # A cancel that comes meanwhile stops the waiting, and not the release.
        released = self._thread.submit(self._pool.release(connection._lease, traceparent()))
        await asyncio.shield(asyncio.wrap_future(released))
