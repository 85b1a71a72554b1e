"""The RPCs of PoolService: translate, one call, translate."""

from virtlease.pool.v1 import hypervisor_pb2, lease_pb2
from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.identity import current_caller
from virtlease_chassis.wire import fingerprint, timestamp
from virtlease_pool import convert
from virtlease_pool.acquire import Acquire, check_ttl
from virtlease_pool.hypervisors import Hypervisors
from virtlease_pool.leases import Lease, LeaseTable
from virtlease_pool.leases.lease import Terms
from virtlease_pool.leases.table import check_holder_id, new_holder_id
from virtlease_pool.model import VmRef
from virtlease_pool.once import Once


class PoolServicer:
    """`lease_ttl` in seconds is what a lease gets whose holder asks for none."""

    def __init__(
        self, hypervisors: Hypervisors, leases: LeaseTable, acquire: Acquire, once: Once, clock: Clock, lease_ttl: float
    ) -> None:
        self._hypervisors = hypervisors
        self._leases = leases
        self._acquire = acquire
        self._once = once
        self._clock = clock
        self._lease_ttl = lease_ttl

    async def acquire_lease(self, request: lease_pb2.AcquireLeaseRequest) -> lease_pb2.AcquireLeaseResponse:
        owner = current_caller.get().principal.name
        terms = self._terms(request, owner)
        wait = convert.seconds(request.wait_timeout) if request.HasField("wait_timeout") else None
        if request.request_id:
            lease = await self._once.run(
                owner,
                "AcquireLease",
                request.request_id,
                fingerprint(request),
                lambda: self._acquire.lease(terms, wait),
            )
        else:
            lease = await self._acquire.lease(terms, wait)
        now = self._clock.wall()
        return lease_pb2.AcquireLeaseResponse(
            lease=convert.to_lease(lease, now), holder_id=lease.terms.holder_id, server_time=timestamp(now)
        )

    async def renew_lease(self, request: lease_pb2.RenewLeaseRequest) -> lease_pb2.RenewLeaseResponse:
        ttl = convert.seconds(request.ttl) if request.HasField("ttl") else None
        if ttl is not None:
            check_ttl(ttl)
        leases = self._renewed(request, current_caller.get().principal.name)
        for lease in leases:
            lease.renew(ttl)
        now = self._clock.wall()
        return lease_pb2.RenewLeaseResponse(
            leases=[convert.to_lease(lease, now) for lease in leases], server_time=timestamp(now)
        )

    async def release_lease(self, request: lease_pb2.ReleaseLeaseRequest) -> lease_pb2.ReleaseLeaseResponse:
        self._leases.release(current_caller.get().principal.name, request.lease_id, discard=request.discard)
        return lease_pb2.ReleaseLeaseResponse(release_time=timestamp(self._clock.wall()))

    async def list_hypervisors(
        self, request: hypervisor_pb2.ListHypervisorsRequest
    ) -> hypervisor_pb2.ListHypervisorsResponse:
        wanted = dict(request.labels).items()
        selected = [each for each in self._hypervisors if wanted <= dict(each.config.labels).items()]
        return hypervisor_pb2.ListHypervisorsResponse(
            hypervisors=[convert.to_hypervisor(each) for each in selected],
            server_time=timestamp(self._clock.wall()),
        )

    async def get_pool_stats(self, request: hypervisor_pb2.GetPoolStatsRequest) -> hypervisor_pb2.GetPoolStatsResponse:
        selected = self._hypervisors.selected(request.hypervisor)
        return hypervisor_pb2.GetPoolStatsResponse(
            pools=[convert.to_pool_stats(each, each.pool.stats()) for each in selected],
            server_time=timestamp(self._clock.wall()),
        )

    def _terms(self, request: lease_pb2.AcquireLeaseRequest, owner: str) -> Terms:
        if request.holder_id:
            check_holder_id(request.holder_id)
        return Terms(
            owner=owner,
            hypervisor=self._target(request),
            vm_id=request.vm_id,
            ttl=convert.seconds(request.ttl) if request.HasField("ttl") else self._lease_ttl,
            holder_id=request.holder_id or new_holder_id(),
            purpose=request.purpose,
        )

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
                return [self._leases.find(owner, request.lease_id)]
            case "holder_id":
                return self._leases.held_by(owner, request.holder_id)
        raise InvalidArgument("lease_id", "give lease_id or holder_id")
