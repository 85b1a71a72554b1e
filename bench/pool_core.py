"""The core of the pool beside other pools: connections that do nothing, one loop, one `sleep(0)` while a loan is out.

Slots lost: of 24 (six storms of 200 tasks, half of them cancelled at random, on pools of four), those that could not be
had again. Longest wait: of somebody who asks 20 times beside a task that takes the only connection again and again.
"""

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Awaitable, Callable

from bench.drive import rate
from bench.peers import PEERS, Peer
from bench.report import Report, Samples
from bench.rounds import alternate
from virtlease_pool.core import Loan, Policy, Pool, maintain

SIZE = 4
TASKS = (1, 4, 32)
PATIENCE = 30.0
HYPERVISORS = 1000
IDLE_EACH = 10


async def run(report: Report) -> None:
    faults = {peer.name: await _faults(peer) for peer in PEERS}
    for tasks in TASKS:
        await _cycles(report, tasks, faults)
    await _keyed(report)


async def _cycles(report: Report, tasks: int, faults: dict[str, tuple[int, float]]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sides: dict[str, Callable[[], Awaitable[float]]] = {}
        for peer in PEERS:
            subject = await stack.enter_async_context(peer.open(SIZE, _no_time))

            async def cycle(_: int, subject: object = subject) -> None:
                loan = await subject.borrow(PATIENCE)  # type: ignore[attr-defined]
                await asyncio.sleep(0)
                done = subject.give_back(loan)  # type: ignore[attr-defined]
                if done is not None:
                    await done

            sides[peer.name] = lambda cycle=cycle: rate(report.seconds / 2, tasks, cycle)  # type: ignore[misc]
        found = await alternate(report, sides)
    table = report.table(f"Cycles of {tasks} task{'s' * (tasks > 1)} on {SIZE} connections", "cycles/s")
    ours = found["virtlease"]
    others = {name: figures for name, figures in found.items() if name != "virtlease"}
    fastest = max(others, key=lambda name: others[name].median)
    sound = [name for name in others if faults[name][0] == 0 and faults[name][1] < 1000]
    for peer in PEERS:
        lost, wait = faults[peer.name]
        waited = "starved" if wait >= 1000 else f"{wait:.1f} ms"
        remark = f"{lost} of 24 slots lost, longest wait {waited}" + (f"; {peer.remark}" if peer.remark else "")
        table.row(peer.name, found[peer.name], remark)
    table.ratio("virtlease, to the fastest", ours, others[fastest], fastest, at_least=1.2)
    if sound:
        best = max(sound, key=lambda name: others[name].median)
        table.ratio("virtlease, to the fastest that neither loses nor starves", ours, others[best], best, at_least=2.0)


async def _faults(peer: Peer) -> tuple[int, float]:
    """The slots that it loses and the longest wait in ms: in a process of its own, since some leave tasks that hang."""
    command = (sys.executable, "-W", "ignore", "-m", "bench.peers.faults", peer.name)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    lost, wait = out.split()[-2:]
    return int(lost), float(wait)


async def _keyed(report: Report) -> None:
    """A thousand pools with ten thousand idle connections, against one pool."""

    class Connector:
        async def open(self) -> object:
            return object()

        def fault(self, _connection: object) -> str:
            return ""

        async def check(self, _connection: object) -> bool:
            return True

        async def close(self, _connection: object) -> None: ...

    def pool(number: int) -> Pool[object]:
        policy = Policy(max_size=IDLE_EACH, max_opening=IDLE_EACH, max_usage=10**12, idle_ttl=1e9, max_lifetime=1e9)
        return Pool(str(number), Connector(), policy)

    many = {str(number): pool(number) for number in range(HYPERVISORS)}
    one = {"0": pool(0)}
    for each in (*many.values(), *one.values()):
        loans: list[Loan[object]] = [await each.acquire(PATIENCE) for _ in range(IDLE_EACH)]
        for loan in loans:
            loan.give_back()
    names = list(many)
    random.Random(1).shuffle(names)
    position = 0

    async def cycle_of_many(_: int) -> None:
        nonlocal position
        position = (position + 1) % HYPERVISORS
        loan = await many[names[position]].acquire(PATIENCE)
        await asyncio.sleep(0)
        loan.give_back()

    async def cycle_of_one(_: int) -> None:
        loan = await one["0"].acquire(PATIENCE)
        await asyncio.sleep(0)
        loan.give_back()

    maintenance = asyncio.ensure_future(maintain(lambda: many.values()))
    found = await alternate(
        report,
        {
            "one": lambda: rate(report.seconds / 2, 4, cycle_of_one),
            "many": lambda: rate(report.seconds / 2, 4, cycle_of_many),
        },
    )
    stall = await _longest_stall(report)
    maintenance.cancel()
    table = report.table(f"{HYPERVISORS:,} hypervisors with {HYPERVISORS * IDLE_EACH:,} idle connections", "us a cycle")
    cost = {name: Samples(tuple(1e6 / figure for figure in figures.rounds)) for name, figures in found.items()}
    table.row("one hypervisor", cost["one"])
    table.ratio("a thousand", cost["many"], cost["one"], "one", at_most=1.3)
    table = report.table("The longest that maintenance holds the loop", "ms")
    table.limit("with 10,000 idle connections", stall, at_most=5)


async def _longest_stall(report: Report) -> float:
    """How late the loop comes to a timer, at most, beside maintenance alone; the least of some rounds, in ms."""
    found = []
    for _ in range(3):
        longest = 0.0
        end = time.perf_counter() + max(report.seconds, 1.2)
        while time.perf_counter() < end:
            begin = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, (time.perf_counter() - begin) * 1000)
        found.append(longest)
    return min(found)


async def _no_time() -> None: ...
