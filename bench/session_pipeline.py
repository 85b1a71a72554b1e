"""The session Pipeline: one client process with 64 callers, each updating a key of its own session, and its peers.

Every update of ours is atomic, owner-checked, versioned, watched and safe to retry. A SET of redis-py is one of nothing
of that, and etcd's keep-alive carries no data.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import grpc
import redis.asyncio

from bench.drive import rate
from bench.etcd import KeepAlives
from bench.report import Report
from bench.rounds import alternate
from bench.servers import CALLER, Server, etcd_server, redis_server, scratch, session_service
from virtlease.client import SessionPipeline
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_service_pb2_grpc as rpc

CALLERS = 64
VALUE = '"' + "x" * 98 + '"'


@dataclass
class Ours:
    """A session service with a session for each caller."""

    pipeline: SessionPipeline
    stub: rpc.SessionServiceStub
    ids: list[str]

    def update(self, number: int) -> calls.UpdateSessionRequest:
        """One caller's next update."""
        request = calls.UpdateSessionRequest(session_id=self.ids[number])
        request.mutations.add(key="key", set=VALUE)
        return request

    async def by_pipeline(self, number: int) -> None:
        await self.pipeline.update(self.update(number), timeout=30)

    async def by_unary(self, number: int) -> None:
        await self.stub.UpdateSession(self.update(number), metadata=CALLER)


@contextlib.asynccontextmanager
async def ours(server: Server) -> AsyncIterator[Ours]:
    """A client of a session service, ready."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        pipeline = SessionPipeline(channel, metadata=lambda: CALLER)
        created = [await pipeline.create(calls.CreateSessionRequest(), timeout=10) for _ in range(CALLERS)]
        yield Ours(pipeline, rpc.SessionServiceStub(channel), [each.session.session_id for each in created])
        await pipeline.close()


async def run(report: Report) -> None:
    table = report.table(f"Updates over the network, {CALLERS} callers in one Python process", "updates/s")
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(scratch())
        memory = await stack.enter_async_context(ours(stack.enter_context(session_service())))
        sqlite = await stack.enter_async_context(ours(stack.enter_context(session_service(folder / "data"))))
        port = stack.enter_context(redis_server()).port
        client = redis.asyncio.Redis(port=port, protocol=3)
        stack.push_async_callback(client.aclose)

        def measured(call: Callable[[int], object], callers: int = CALLERS) -> Callable[[], object]:
            return lambda: rate(report.seconds, callers, call)

        async def by_hand(_: int) -> None:
            async with client.pipeline(transaction=False) as batch:
                for number in range(CALLERS):
                    batch.set(f"key{number}", VALUE)
                await batch.execute()

        async def by_hand_rate() -> float:
            return CALLERS * await rate(report.seconds, 1, by_hand)

        sides = {
            "set": measured(lambda number: client.set(f"key{number}", VALUE)),
            "by hand": by_hand_rate,
            "unary": measured(memory.by_unary),
            "memory": measured(memory.by_pipeline),
            "sqlite": measured(sqlite.by_pipeline),
        }
        if (etcd := stack.enter_context(etcd_server())) is not None:
            keep_alives = KeepAlives(await stack.enter_async_context(grpc.aio.insecure_channel(etcd.address)), CALLERS)
            await keep_alives.open()
            stack.callback(keep_alives.close)
            sides["etcd"] = measured(keep_alives.keep_alive)
        found = await alternate(report, sides)
    table.row("redis-py SET", found["set"], "unconditional; no owner, version or retry")
    table.row("redis-py SET, 64 a pipeline made by hand", found["by hand"], "one caller who has 64 to send")
    if "etcd" in found:
        table.row("etcd LeaseKeepAlive, one stream", found["etcd"], "renews, carries no data")
    table.row("UpdateSession, unary", found["unary"])
    table.ratio("Pipeline, memory store", found["memory"], found["set"], "redis-py SET", at_least=3)
    table.ratio("the same", found["memory"], found["unary"], "our unary", at_least=8)
    table.ratio("the same", found["memory"], found["by hand"], "redis-py by hand")
    goal = min(10_000, found["memory"].median / 2)
    table.limit("Pipeline, SQLite store, FULL", found["sqlite"], at_least=goal, remark="synced before it is answered")
