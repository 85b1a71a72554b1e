"""WatchPool: what happens in the pools."""

from collections.abc import AsyncIterator

from virtlease.pool.v1 import operate_pb2 as pb
from virtlease_pool import convert, watching
from virtlease_pool.hypervisors import Hypervisors
from virtlease_pool.model import PoolEvent


async def watch_pool(hypervisors: Hypervisors, request: pb.WatchPoolRequest) -> AsyncIterator[pb.WatchPoolResponse]:
    """The stream of one watch. Raises HypervisorNotFound, InvalidArgument, Compacted and ShuttingDown."""
    only = hypervisors[request.hypervisor].name if request.hypervisor else ""

    def translate(event: PoolEvent) -> pb.PoolEvent | None:
        if only and event.hypervisor not in ("", only):
            return None
        return convert.to_pool_event(event, hypervisors.get(event.hypervisor))

    cursor = hypervisors.pool_events.cursor(request.resume_token)
    async for response in watching.watch(cursor, request, pb.WatchPoolResponse, translate):
        yield response
