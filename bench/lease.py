"""Leases over gRPC: acquired and released by calls of their own and on the stream that keeps them, one Python client.

The service is measured as it is shipped, with identities and metrics; the empty method has none of that. Connections
are libvirt's test driver's, and there is one for each caller: what is measured is leasing and not waiting.
"""

import contextlib
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.empty_pb2 import Empty

from bench.drive import rate
from bench.report import Report, Samples
from bench.rounds import alternate
from bench.servers import CALLER, module, pool_service
from bench.servers.empty import METHOD
from virtlease.client.lease_stream import LeaseStream
from virtlease.pool.v1 import lease_pb2, pool_service_pb2_grpc

FEW, MANY = 8, 64
PATIENCE = 30.0


async def run(report: Report) -> None:
    async with contextlib.AsyncExitStack() as stack:
        empty = stack.enter_context(module("empty"))
        service = stack.enter_context(
            pool_service(
                VIRTLEASE_POOL_MAX_SIZE=str(MANY),
                VIRTLEASE_POOL_MAX_USAGE="1000000000",
                VIRTLEASE_POOL_MAX_OPENING=str(MANY),
            )
        )
        bare = await stack.enter_async_context(grpc.aio.insecure_channel(empty.address))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(service.address))
        nothing = bare.unary_unary(
            METHOD, request_serializer=Empty.SerializeToString, response_deserializer=Empty.FromString
        )
        stub = pool_service_pb2_grpc.PoolServiceStub(channel)
        stream = LeaseStream(channel, metadata=lambda: CALLER)
        stack.push_async_callback(stream.close)

        async def by_nothing(_: int) -> None:
            await nothing(Empty())

        async def by_unary(_: int) -> None:
            answer = await stub.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="local"), metadata=CALLER)
            await stub.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=answer.lease.lease_id), metadata=CALLER)

        async def by_stream(_: int) -> None:
            answer = await stream.acquire(lease_pb2.AcquireLeaseRequest(hypervisor="local"), timeout=PATIENCE)
            await stream.release(lease_pb2.ReleaseLeaseRequest(lease_id=answer.lease.lease_id), timeout=PATIENCE)

        def side(callers: int, call: Callable[[int], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
            return lambda: rate(report.seconds, callers, call)

        found = await alternate(report, {"empty": side(FEW, by_nothing), "unary": side(FEW, by_unary)})
        table = report.table(f"AcquireLease and ReleaseLease, {FEW} callers", "RPCs/s")
        table.row("an empty unary RPC", found["empty"])
        per_rpc = Samples(tuple(2 * cycles for cycles in found["unary"].rounds))
        table.ratio("ours, each", per_rpc, found["empty"], "empty", at_least=0.8)

        found = await alternate(report, {"unary": side(MANY, by_unary), "stream": side(MANY, by_stream)})
        table = report.table(f"Cycles of a lease, {MANY} callers", "cycles/s")
        table.row("unary RPCs", found["unary"])
        table.ratio("on the HoldLeases stream", found["stream"], found["unary"], "unary", at_least=5.0)
