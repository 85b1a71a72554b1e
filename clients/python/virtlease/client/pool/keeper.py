"""Leases that this process holds: acquired so that none gets lost, kept alive, and given back."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

import grpc

from virtlease.client.errors import CallFailed, LeaseLost, ServiceUnavailable
from virtlease.client.pool.calls import Metadata, PoolCalls
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
    ttl: float
    renewed_at: float
    lost: CallFailed | None = None
    released: bool = False

    def lose(self, failure: CallFailed) -> None:
        """The lease is over. The first reason counts."""
        self.lost = self.lost or failure


class LeaseKeeper:
    """The leases of one pool. Everything is for the loop thread.

    Each lease has a holder of its own, a secret that is chosen before it is asked for. So what came of a call that
    broke off can be found out by that secret, and a lease that nobody waits for any more is given back.
    """

    def __init__(self, calls: PoolCalls, ttl: float, purpose: str) -> None:
        """`ttl` in seconds is how long leases outlive this process; `purpose` is shown to operators."""
        self.calls = calls
        self._ttl = ttl
        self._purpose = purpose
        self._leases: set[HeldLease] = set()
        self._behind: set[asyncio.Task[None]] = set()

    async def acquire(self, ticket: Ticket, vm_id: str, wait: float, trace: Metadata) -> HeldLease:
        """Waits in line for a connection to the VM's hypervisor, `wait` seconds at most."""
        request = lease_pb2.AcquireLeaseRequest(vm_id=vm_id, holder_id=secrets.token_urlsafe(24), purpose=self._purpose)
        request.ttl.FromMilliseconds(round(self._ttl * 1000))
        request.wait_timeout.FromMilliseconds(round(wait * 1000))
        try:
            found = await self._acquired(request, wait + _ANSWER_SECONDS, trace)
        except BaseException:
            self._later(self._return_all(request.holder_id))
            raise
        lease = HeldLease(found.lease_id, found.hypervisor, self._ttl, time.monotonic())
        ticket.lease = lease
        if ticket.abandoned:
            self._later(self.release(lease, trace))
        else:
            self._leases.add(lease)
        return lease

    def abandon(self, ticket: Ticket) -> None:
        """Gives back what came of the ticket, or will."""
        ticket.abandoned = True
        if ticket.lease is not None:
            self._later(self.release(ticket.lease, ()))

    async def release(self, lease: HeldLease, trace: Metadata) -> None:
        """Gives a lease back. When that fails it is not renewed any more, and ends by itself."""
        self._leases.discard(lease)
        if lease.released:
            return
        lease.released = True
        if lease.lost is not None:
            return
        try:
            await self.calls.release(lease.lease_id, self._ttl, trace)
        except LeaseLost:
            pass
        except CallFailed as failure:
            log.warning("a lease could not be given back, and ends within %g s by itself: %s", lease.ttl, failure)

    async def keep_alive(self) -> None:
        """Renews all leases three times in their time to live, until it is cancelled."""
        while True:
            await asyncio.sleep(self._ttl / 3)
            await asyncio.gather(*(self._renew(lease) for lease in list(self._leases)))

    async def release_all(self) -> None:
        """Gives everything back."""
        await asyncio.gather(*(self.release(lease, ()) for lease in list(self._leases)))
        await asyncio.gather(*self._behind, return_exceptions=True)

    async def _renew(self, lease: HeldLease) -> None:
        started = time.monotonic()
        try:
            await self.calls.renew(lease.lease_id, self._ttl / 3)
            lease.renewed_at = started
        except LeaseLost as failure:
            self._lose(lease, failure)
        except CallFailed as failure:
            if time.monotonic() - lease.renewed_at > lease.ttl:
                message = f"the lease could not be renewed in time: {failure}"
                self._lose(lease, LeaseLost(grpc.StatusCode.ABORTED, message, "LEASE_LOST"))

    def _lose(self, lease: HeldLease, failure: CallFailed) -> None:
        self._leases.discard(lease)
        lease.lose(failure)

    async def _acquired(
        self, request: lease_pb2.AcquireLeaseRequest, timeout: float, trace: Metadata
    ) -> lease_pb2.Lease:
        """A lease, asked for once more when the service went away before it answered."""
        started = time.monotonic()
        try:
            return await self.calls.acquire(request, timeout, trace)
        except ServiceUnavailable as failure:
            if failure.reason not in ("", "SHUTTING_DOWN") or not self.calls.answered:
                raise
        held = await self.calls.held(request.holder_id, timeout)
        if held:
            return held[0]
        return await self.calls.acquire(request, max(timeout - (time.monotonic() - started), 0.001), trace)

    async def _return_all(self, holder_id: str) -> None:
        """Gives back what a holder got without being told."""
        with contextlib.suppress(CallFailed):  # then the leases end by themselves
            for lease in await self.calls.held(holder_id, self._ttl):
                await self.calls.release(lease.lease_id, self._ttl, ())

    def _later(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)


@contextlib.asynccontextmanager
async def lease_keeper(calls: PoolCalls, ttl: float, purpose: str) -> AsyncIterator[LeaseKeeper]:
    """Keeps leases alive until the context is left; then they are given back."""
    keeper = LeaseKeeper(calls, ttl, purpose)
    renewing = asyncio.create_task(keeper.keep_alive())
    try:
        yield keeper
    finally:
        renewing.cancel()
        await keeper.release_all()
