"""Leases that this process holds: kept alive by one stream, and given back whatever happens."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

import grpc

from virtlease.client.advice import advising
from virtlease.client.errors import CallFailed, LeaseLost
from virtlease.client.lease_stream import LeaseStream
from virtlease.client.pool.calls import PoolCalls
from virtlease.client.target import Target
from virtlease.pool.v1 import lease_pb2

log = logging.getLogger(__name__)

# What a call that waits for a connection is given beyond the wait, to bring the answer.
_ANSWER_SECONDS = 5.0


class Ticket:
    """One wish for a lease. Whoever gave up waiting abandons it: a lease that came of it goes back."""

    def __init__(self) -> None:
        self.lease: HeldLease | None = None
        self.abandoned = False


@dataclass(eq=False)
class HeldLease:
    """A lease that is kept alive until it is released, or lost."""

    lease_id: str
    hypervisor: str
    lost: CallFailed | None = None
    released: bool = False

    def lose(self, failure: CallFailed) -> None:
        """The lease is over. The first reason counts."""
        if isinstance(failure, LeaseLost):
            self.lost = self.lost or failure
        else:
            self.lost = self.lost or LeaseLost(grpc.StatusCode.ABORTED, failure.message, "LEASE_LOST")


class LeaseKeeper:
    """The leases of one pool. Everything is for the loop thread."""

    def __init__(self, calls: PoolCalls, channel: grpc.aio.Channel, target: Target, ttl: float, purpose: str) -> None:
        """`ttl` in seconds is how long leases outlive this process; `purpose` is shown to operators."""
        self.calls = calls
        self._target = target
        self._timeout = ttl
        self._leases: dict[str, HeldLease] = {}
        self._behind: set[asyncio.Task[None]] = set()
        self._stream = LeaseStream(channel, ttl=ttl, purpose=purpose, metadata=target.metadata, on_lost=self._lose)

    async def acquire(self, ticket: Ticket, vm_id: str, wait: float, traceparent: str) -> HeldLease:
        """Waits in line for a connection to the VM's hypervisor, `wait` seconds at most."""
        request = lease_pb2.AcquireLeaseRequest(vm_id=vm_id)
        request.wait_timeout.FromMilliseconds(round(wait * 1000))
        with advising("pool", self._target):
            response = await self._stream.acquire(request, timeout=wait + _ANSWER_SECONDS, traceparent=traceparent)
        lease = ticket.lease = HeldLease(response.lease.lease_id, response.lease.hypervisor)
        self._leases[lease.lease_id] = lease
        if ticket.abandoned:
            self._later(self.release(lease, ""))
        return lease

    def abandon(self, ticket: Ticket) -> None:
        """Gives back what came of the ticket, or will."""
        ticket.abandoned = True
        if ticket.lease is not None:
            self._later(self.release(ticket.lease, ""))

    async def release(self, lease: HeldLease, traceparent: str) -> None:
        """Gives a lease back. When that fails it is not kept alive any more, and ends by itself."""
        self._leases.pop(lease.lease_id, None)
        if lease.released:
            return
        lease.released = True
        if lease.lost is not None:
            return
        request = lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id)
        try:
            await self._stream.release(request, timeout=self._timeout, traceparent=traceparent)
        except LeaseLost:
            pass
        except CallFailed as failure:
            log.warning("a lease could not be given back, and ends by itself: %s", failure)

    async def close(self) -> None:
        """Gives everything back."""
        await asyncio.gather(*(self.release(lease, "") for lease in list(self._leases.values())))
        await asyncio.gather(*self._behind)
        await self._stream.close()

    def _lose(self, lease_id: str, failure: CallFailed) -> None:
        if (lease := self._leases.pop(lease_id, None)) is not None:
            lease.lose(failure)

    def _later(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)


@contextlib.asynccontextmanager
async def lease_keeper(target: Target, ttl: float, purpose: str) -> AsyncIterator[LeaseKeeper]:
    """Keeps leases alive until the context is left; then they are given back."""
    async with target.open_channel() as channel:
        keeper = LeaseKeeper(PoolCalls(channel, target), channel, target, ttl, purpose)
        try:
            yield keeper
        finally:
            await keeper.close()
