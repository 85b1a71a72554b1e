"""The gateway: a stateful, traced VM read through all three processes, against FastMCP as it comes.

Ours checks a session, reads a VM on a pooled connection, and appends the call to the session's history before it
answers; one request in a hundred is sampled. FastMCP's tool does nothing: no state, no VM, no trace. The other peer
keeps its calls with ctx.set_state in Redis, where writers of one session overwrite each other, and opens libvirt at
each call. All are asked by the same raw HTTP client, in the protocol 2026-07-28, on the cores that there are.
"""

import contextlib
import itertools
import statistics
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from support.otlp import otlp_receiver
from support.processes import virtlease_apart

from bench.drive import latencies, rate
from bench.mcp_client import RawClient
from bench.report import Report
from bench.rounds import alternate
from bench.servers import module, redis_server, scratch

CLIENTS = 16
VM = "local/test"


@dataclass
class Callers:
    """So many clients of one server, each with a session of its own."""

    clients: list[RawClient]
    tool: str
    sessions: list[str]
    sampled: Callable[[], bool]

    async def call(self, number: int) -> None:
        """One client's next call."""
        trace = f"00-{'a' * 31}1-{'b' * 16}-{int(self.sampled()):02x}"
        await self.clients[number].call(self.tool, {"vm_id": VM, "session_id": self.sessions[number]}, trace)

    async def median(self, count: int) -> float:
        """The median latency of one client, in milliseconds."""
        return statistics.median(await latencies(count, lambda: self.call(0)))


def one_in(share: int) -> Callable[[], bool]:
    """True once in so many times."""
    numbers = itertools.count(1)
    return lambda: next(numbers) % share == 0


@contextlib.asynccontextmanager
async def callers(address: str, tool: str, sampled: Callable[[], bool], *, sessions: bool) -> AsyncIterator[Callers]:
    """Clients that are connected."""
    clients = [await RawClient.open(address) for _ in range(CLIENTS)]
    ids = [""] * CLIENTS
    if sessions:
        ids = [(await client.call("create_session", {}))["session"]["session_id"] for client in clients]
    found = Callers(clients, tool, ids, sampled)
    for number in range(CLIENTS):
        await found.call(number)
    yield found
    for client in clients:
        client.close()


async def run(report: Report) -> None:
    count = 60 if report.quick else 600
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(scratch())
        received = await stack.enter_async_context(otlp_receiver())
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint}
        addresses, _ = stack.enter_context(virtlease_apart(folder, **settings))
        plain = stack.enter_context(module("fastmcp_plain"))
        redis = stack.enter_context(redis_server())
        stateful = stack.enter_context(module("fastmcp_plain", str(redis.port), "test:///default"))
        never = lambda: False  # noqa: E731
        ours = await stack.enter_async_context(callers(addresses.gateway, "get_vm", one_in(100), sessions=True))
        always = await stack.enter_async_context(callers(addresses.gateway, "get_vm", one_in(1), sessions=True))
        nothing = await stack.enter_async_context(callers(plain.address, "nothing", never, sessions=False))
        reads = await stack.enter_async_context(callers(stateful.address, "read_vm", never, sessions=False))

        sides = {"nothing": nothing, "reads": reads, "ours": ours, "always": always}
        rates = {name: lambda each=each: rate(report.seconds, CLIENTS, each.call) for name, each in sides.items()}
        table = report.table(f"Tool calls, {CLIENTS} clients", "calls/s")
        found = await alternate(report, rates)
        table.row("FastMCP, a tool that does nothing", found["nothing"])
        table.row(
            "FastMCP, state in Redis, opens libvirt", found["reads"], "test driver; loses updates, no owner check"
        )
        table.ratio("get_vm, 1 % sampled", found["ours"], found["nothing"], "nothing", at_least=1.0)
        table.ratio("the same", found["ours"], found["reads"], "state in Redis", at_least=2.0)
        table.ratio("get_vm, all sampled", found["always"], found["nothing"], "nothing")

        medians = {name: lambda each=each: each.median(count) for name, each in sides.items()}
        table = report.table("Tool calls, one client", "median ms")
        found = await alternate(report, medians)
        table.row("FastMCP, a tool that does nothing", found["nothing"])
        table.row("FastMCP, state in Redis, opens libvirt", found["reads"])
        table.ratio("get_vm, 1 % sampled", found["ours"], found["nothing"], "nothing", at_most=2.5)
        table.ratio("get_vm, all sampled", found["always"], found["nothing"], "nothing")
