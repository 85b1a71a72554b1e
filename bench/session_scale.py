"""From a thousand sessions to a million: memory, the cost of an update, and how long anything keeps the loop to itself.

Costs are processor time of the server, and stalls are processor time of its loop's thread in one turn of the loop: both
leave out what other processes take. Sessions have four small values. They are created without request ids, whose
outcomes are kept for ten minutes beside the sessions.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from support.process_figures import cpu_seconds, resident_bytes
from support.processes import free_port

from bench.drive import rate
from bench.report import Report, Table
from bench.rounds import alternate
from bench.servers import Server, module
from virtlease.client import BatchStream
from virtlease.session.v1 import pipeline_pb2
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_service_pb2_grpc as rpc

CALLERS = 64
IDLE = 7200


class Crowd:
    """A session service with many sessions, and the client that fills and uses it."""

    def __init__(self, server: Server, heart: str, channel: grpc.aio.Channel) -> None:
        self.server = server
        self._heart = heart
        self.stub = rpc.SessionServiceStub(channel)
        self.stream = BatchStream(
            channel,
            "/virtlease.session.v1.SessionService/Pipeline",
            pipeline_pb2.PipelineRequest,
            pipeline_pb2.PipelineResponse,
        )
        self.ids: list[str] = []

    async def grow(self, count: int, idle: Callable[[], float] = lambda: IDLE, *, keep: bool = True) -> None:
        """Adds sessions until there are so many more, by 64 callers."""
        left = count

        async def creator() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                request = calls.CreateSessionRequest()
                number = len(self.ids)
                for key, text in (
                    ("host", '"node-17"'),
                    ("step", str(number)),
                    ("done", "false"),
                    ("vm", f'"vm-{left}"'),
                ):
                    request.values[key] = text
                request.idle_ttl.FromMilliseconds(round(idle() * 1000))
                response = await self.stream.call("create", request, timeout=60)
                if keep:
                    self.ids.append(response.session.session_id)

        await asyncio.gather(*(creator() for _ in range(CALLERS)))

    def _update(self) -> calls.UpdateSessionRequest:
        request = calls.UpdateSessionRequest(session_id=random.choice(self.ids))
        request.mutations.add(key="step", set="12345")
        return request

    async def by_stream(self, _: int) -> None:
        await self.stream.call("update", self._update(), timeout=60)

    async def by_unary(self, _: int) -> None:
        await self.stub.UpdateSession(self._update())

    async def cost(self, seconds: float, call: Callable[[int], Awaitable[None]]) -> float:
        """Processor time that one call costs the server, in microseconds."""
        used, begin = cpu_seconds(self.server.pid), time.perf_counter()
        calls_a_second = await rate(seconds, CALLERS, call)
        return (cpu_seconds(self.server.pid) - used) * 1e6 / (calls_a_second * (time.perf_counter() - begin))

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[list[float]]:
        """Fills a list with the longest turn of the server's loop in this block, in ms: of processor time, and wall."""
        host, _, port = self._heart.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        found: list[float] = []
        yield found
        writer.write_eof()
        found += map(float, (await reader.readline()).split())
        writer.close()


@contextlib.asynccontextmanager
async def crowd() -> AsyncIterator[Crowd]:
    """An empty one, warmed up."""
    heart = f"127.0.0.1:{free_port()}"
    with module("session_heart", heart) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            found = Crowd(server, heart, channel)
            await found.grow(CALLERS)
            await rate(1, CALLERS, found.by_stream)  # what any service has taken after its first second
            yield found
            await found.stream.close()


async def run(report: Report) -> None:
    steps = [1_000, 10_000] if report.quick else [1_000, 10_000, 100_000, 1_000_000]
    async with crowd() as small, crowd() as large:
        await small.grow(steps[0])
        memory = report.table("Memory of the service", "bytes a session")
        empty = resident_bytes(large.server.pid)
        worst: list[list[float]] = []
        for step in steps:
            async with large.watched() as turn:
                await large.grow(step - len(large.ids))
            worst.append(turn)
            used = resident_bytes(large.server.pid) - empty
            memory.limit(f"{step:,} sessions", used / (step - CALLERS), at_most=1024)

        costs = report.table("What an update costs the server, of sessions at random", "microseconds")
        found = await alternate(
            report,
            {
                "small unary": lambda: small.cost(report.seconds, small.by_unary),
                "large unary": lambda: large.cost(report.seconds, large.by_unary),
                "small stream": lambda: small.cost(report.seconds, small.by_stream),
                "large stream": lambda: large.cost(report.seconds, large.by_stream),
            },
        )
        for name, words, most in (("unary", "unary", 1.2), ("stream", "Pipeline", 1.5)):
            few, many = found[f"small {name}"], found[f"large {name}"]
            costs.row(f"{words}, {steps[0]:,} sessions", few)
            costs.ratio(f"{words}, {steps[-1]:,} sessions", many, few, f"{steps[0]:,}", at_most=most)

        stalls = report.table("The longest turn of the loop", "ms of processor time")
        for step, (cpu, wall) in zip(steps, worst, strict=True):
            stalls.limit(f"growing to {step:,} sessions", cpu, at_most=5, remark=f"{wall:.1f} ms by the clock")
        await expire(report, small, stalls)


async def expire(report: Report, crowd: Crowd, stalls: Table) -> None:
    """Has many sessions expire at the same moment while others are updated."""
    count = 10_000 if report.quick else 100_000
    at = time.monotonic() + (3 if report.quick else 12)
    await crowd.grow(count, lambda: max(1.0, at - time.monotonic()), keep=False)
    late = time.monotonic() - at
    assert late < -0.5, f"creating them took {late + 12:.0f} s"
    await asyncio.sleep(at - time.monotonic() - 0.2)
    async with crowd.watched() as turn:
        updates = await rate(3, 8, crowd.by_stream)
    cpu, wall = turn
    remark = f"{wall:.1f} ms by the clock, beside {updates:,.0f} updates/s"
    stalls.limit(f"{count:,} expire in one second", cpu, at_most=5, remark=remark)
