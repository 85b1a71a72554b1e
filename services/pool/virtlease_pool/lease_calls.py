"""Acquire, renew and release, as calls of their own and as operations of a stream."""

import asyncio

from opentelemetry import trace

from virtlease.pool.v1 import lease_pb2
from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.rpc.peer import call_peer
from virtlease_chassis.telemetry import trace_id_of
from virtlease_chassis.wire import checked_milliseconds, fingerprint, timestamp
from virtlease_pool import convert
from virtlease_pool.acquire import Acquire, check_ttl
from virtlease_pool.errors import RequestIdReused
from virtlease_pool.hypervisors import Hypervisors
from virtlease_pool.leases import Holder, Lease, LeaseTable
from virtlease_pool.leases.lease import Terms
from virtlease_pool.leases.table import check_holder_id, new_holder_id
from virtlease_pool.model import VmRef


class LeaseCalls:
    """`lease_ttl` in seconds is what a lease gets whose holder asks for none; `address` is where this replica is."""

    def __init__(
        self,
        hypervisors: Hypervisors,
        leases: LeaseTable,
        acquire: Acquire,
        clock: Clock,
        lease_ttl: float,
        address: str = "",
    ) -> None:
        self.address = address
        self._hypervisors = hypervisors
        self.leases = leases
        self._acquire = acquire
        self._clock = clock
        self.lease_ttl = lease_ttl

    async def acquire(
        self,
        request: lease_pb2.AcquireLeaseRequest,
        owner: str,
        holder: Holder | None = None,
        most: float | None = None,
    ) -> Lease:
        """Leases a connection for an owner, waiting in line.

        Without a holder the lease belongs to the one that the request names. For a given holder a request id is carried
        out once, and goes on when its caller goes away: the holder comes back and asks again. `most` in seconds bounds
        the wait beside what the request says.

        Raises what the pool raises, InvalidArgument, HypervisorNotFound and RequestIdReused.
        """
        terms = self._terms(request, owner, holder)
        wait = self._wait(request, most)
        if holder is None or not request.request_id:
            return await self._acquire.lease(terms, wait, holder)
        mark = fingerprint(request)
        known, lease = holder.granted.get(request.request_id, (mark, None))
        if known != mark:
            raise RequestIdReused
        if lease is not None:
            return lease
        task = holder.under_way.get(request.request_id)
        if task is None:
            task = asyncio.ensure_future(self._acquire.lease(terms, wait, holder))
            holder.under_way[request.request_id] = task
            task.add_done_callback(lambda done: self._finished(holder, request.request_id, mark, done))
        return await asyncio.shield(task)

    def take_back(self, holder: Holder, request_id: str) -> None:
        """The caller of an acquire wants no lease any more; one that was granted meanwhile is given back."""
        task = holder.under_way.get(request_id)
        _, lease = holder.granted.pop(request_id, (b"", None))
        if task is not None and not task.done():
            task.cancel()
        elif task is not None and not task.cancelled() and task.exception() is None:
            lease = task.result()  # granted in this moment, and not remembered yet
        if lease is not None and lease.over is None:
            self.leases.release(lease.terms.owner, lease.lease_id, discard=False)

    def acquired(self, lease: Lease) -> lease_pb2.AcquireLeaseResponse:
        """The answer to an acquire. Raises what the lease has ended with since it was granted."""
        if lease.over is not None:
            raise lease.over.with_traceback(None)
        now = self._clock.wall()
        return lease_pb2.AcquireLeaseResponse(
            lease=convert.to_lease(lease, now, self.address),
            holder_id=lease.holder.holder_id,
            server_time=timestamp(now),
        )

    def renew(self, request: lease_pb2.RenewLeaseRequest, owner: str) -> lease_pb2.RenewLeaseResponse:
        """Keeps one lease, or all of a holder. Raises what `LeaseTable.find` raises."""
        ttl = _seconds(request, "ttl")
        if ttl is not None:
            check_ttl(ttl)
        leases = self._renewed(request, owner)
        for lease in leases:
            lease.renew(ttl)
        now = self._clock.wall()
        return lease_pb2.RenewLeaseResponse(
            leases=[convert.to_lease(lease, now, self.address) for lease in leases], server_time=timestamp(now)
        )

    def release(self, request: lease_pb2.ReleaseLeaseRequest, owner: str) -> lease_pb2.ReleaseLeaseResponse:
        """Gives a lease back. Raises what `LeaseTable.find` raises."""
        self.leases.release(owner, request.lease_id, discard=request.discard)
        return lease_pb2.ReleaseLeaseResponse(release_time=timestamp(self._clock.wall()))

    def _finished(self, holder: Holder, request_id: str, mark: bytes, done: "asyncio.Task[Lease]") -> None:
        del holder.under_way[request_id]
        if not done.cancelled() and done.exception() is None:
            holder.remember(request_id, mark, done.result())
        self.leases.forget(holder)

    def _terms(self, request: lease_pb2.AcquireLeaseRequest, owner: str, holder: Holder | None) -> Terms:
        holder_id = request.holder_id
        if holder is not None:
            if holder_id not in ("", holder.holder_id):
                raise InvalidArgument("holder_id", "the lease belongs to the holder of the stream")
            holder_id = holder.holder_id
        elif holder_id:
            check_holder_id(holder_id)
        ttl = _seconds(request, "ttl")
        return Terms(
            owner=owner,
            hypervisor=self._target(request),
            vm_id=request.vm_id,
            ttl=ttl if ttl is not None else holder.ttl if holder else self.lease_ttl,
            holder_id=holder_id or new_holder_id(),
            purpose=_purpose(request.purpose),
            peer=call_peer.get(),
            trace_id=trace_id_of(trace.get_current_span()),
        )

    def _wait(self, request: lease_pb2.AcquireLeaseRequest, most: float | None) -> float | None:
        wait = _seconds(request, "wait_timeout")
        if wait is not None and wait > self._acquire.longest_wait:
            raise InvalidArgument("wait_timeout", f"at most {self._acquire.longest_wait:g} seconds")
        if wait is not None and most is not None:
            return min(wait, most)
        return most if wait is None else wait

    def _target(self, request: lease_pb2.AcquireLeaseRequest) -> str:
        match request.WhichOneof("target"):
            case "hypervisor":
                return request.hypervisor
            case "vm_id":
                if name := VmRef.parse(request.vm_id).hypervisor:
                    return name
                if len(self._hypervisors) == 1:
                    return next(iter(self._hypervisors)).name
                raise InvalidArgument("vm_id", "expected hypervisor/name")
        raise InvalidArgument("hypervisor", "give hypervisor or vm_id")

    def _renewed(self, request: lease_pb2.RenewLeaseRequest, owner: str) -> list[Lease]:
        match request.WhichOneof("target"):
            case "lease_id":
                return [self.leases.find(owner, request.lease_id)]
            case "holder_id":
                return self.leases.held_by(owner, request.holder_id)
        raise InvalidArgument("lease_id", "give lease_id or holder_id")


def _seconds(request: lease_pb2.AcquireLeaseRequest | lease_pb2.RenewLeaseRequest, field: str) -> float | None:
    """A length of time of a request, if it has it. Raises InvalidArgument for a negative one."""
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    seconds = checked_milliseconds(getattr(request, field), field) / 1000
    if seconds < 0:
        raise InvalidArgument(field, "not negative")
    return seconds


def _purpose(purpose: str) -> str:
    if len(purpose) > 200:
        raise InvalidArgument("purpose", "at most 200 characters")
    return purpose
