"""The RPCs of PoolService: translate, one call, translate."""

from collections.abc import AsyncIterator, Callable

from virtlease.pool.v1 import hold_pb2, hypervisor_pb2, lease_pb2, operate_pb2
from virtlease_chassis.clock import Clock
from virtlease_chassis.identity import current_caller
from virtlease_chassis.wire import fingerprint, timestamp
from virtlease_pool import convert
from virtlease_pool.hold import Hold
from virtlease_pool.hypervisors import Hypervisor, Hypervisors
from virtlease_pool.lease_calls import LeaseCalls
from virtlease_pool.once import Once
from virtlease_pool.operate import Operate
from virtlease_pool.watch_pool import watch_pool


class PoolServicer:
    """`hold` makes what serves a stream of HoldLeases."""

    def __init__(
        self,
        hypervisors: Hypervisors,
        calls: LeaseCalls,
        operate: Operate,
        once: Once,
        clock: Clock,
        hold: Callable[[], Hold],
    ) -> None:
        self._operate = operate
        self._hypervisors = hypervisors
        self._calls = calls
        self._once = once
        self._clock = clock
        self._hold = hold

    async def acquire_lease(self, request: lease_pb2.AcquireLeaseRequest) -> lease_pb2.AcquireLeaseResponse:
        owner = current_caller.get().principal.name
        if not request.request_id:
            return self._calls.acquired(await self._calls.acquire(request, owner))
        lease = await self._once.run(
            owner,
            "AcquireLease",
            request.request_id,
            fingerprint(request),
            lambda: self._calls.acquire(request, owner),
        )
        return self._calls.acquired(lease)

    async def renew_lease(self, request: lease_pb2.RenewLeaseRequest) -> lease_pb2.RenewLeaseResponse:
        return self._calls.renew(request, current_caller.get().principal.name)

    async def release_lease(self, request: lease_pb2.ReleaseLeaseRequest) -> lease_pb2.ReleaseLeaseResponse:
        return self._calls.release(request, current_caller.get().principal.name)

    def hold_leases(
        self, requests: AsyncIterator[hold_pb2.HoldLeasesRequest]
    ) -> AsyncIterator[hold_pb2.HoldLeasesResponse]:
        return self._hold().run(requests)

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

    async def list_leases(self, request: operate_pb2.ListLeasesRequest) -> operate_pb2.ListLeasesResponse:
        return self._operate.list_leases(request, current_caller.get())

    async def kill_lease(self, request: operate_pb2.KillLeaseRequest) -> operate_pb2.KillLeaseResponse:
        return self._operate.kill_lease(request)

    async def pause(self, request: operate_pb2.PauseRequest) -> operate_pb2.PauseResponse:
        return operate_pb2.PauseResponse(pool=self._change(request.hypervisor, lambda each: each.pool.pause()))

    async def resume(self, request: operate_pb2.ResumeRequest) -> operate_pb2.ResumeResponse:
        return operate_pb2.ResumeResponse(pool=self._change(request.hypervisor, lambda each: each.pool.resume()))

    async def drain(self, request: operate_pb2.DrainRequest) -> operate_pb2.DrainResponse:
        return operate_pb2.DrainResponse(pool=self._change(request.hypervisor, lambda each: each.pool.drain()))

    async def recycle(self, request: operate_pb2.RecycleRequest) -> operate_pb2.RecycleResponse:
        return operate_pb2.RecycleResponse(pool=self._change(request.hypervisor, lambda each: each.pool.recycle()))

    def watch_pool(self, request: operate_pb2.WatchPoolRequest) -> AsyncIterator[operate_pb2.WatchPoolResponse]:
        return watch_pool(self._hypervisors, request)

    def _change(self, name: str, act: Callable[[Hypervisor], None]) -> hypervisor_pb2.PoolStats:
        hypervisor = self._operate.change(name, act)
        return convert.to_pool_stats(hypervisor, hypervisor.pool.stats())
