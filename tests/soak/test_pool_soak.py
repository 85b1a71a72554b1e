"""A million leases come and go, with faults, and the pool grows by nothing.

Flat means: after a warm-up, the resident memory grows by less than 5 MiB over the second half, and the descriptors are
as many at its end as at its beginning. QUICK=1 makes it a tenth.
"""

import asyncio
import gc
import os
import random
from pathlib import Path
from typing import Any

import pytest
from support.things import Maker, Thing, conserved

from virtlease_chassis.clock import SystemClock
from virtlease_pool.core import Policy, Pool, maintain
from virtlease_pool.leases import LeaseTable
from virtlease_pool.leases.lease import Terms

CYCLES = 100_000 if os.environ.get("QUICK") == "1" else 1_000_000
CALLERS = 64
SIZE = 16
MOST_GROWTH = 5 * 1024 * 1024


class Forgetful(Maker):
    """Does not keep what is closed: it would grow, and the pool be blamed."""

    async def close(self, thing: Thing) -> None:
        await super().close(thing)
        self.things.remove(thing)


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(900)
async def test_a_million_cycles_with_faults_leave_nothing_behind() -> None:
    chance = random.Random(1)
    maker = Forgetful()
    maker.fail = lambda: OSError("no luck") if chance.random() < 0.02 else None
    policy = Policy(max_size=SIZE, max_usage=50, check_after=0.05, retry_first=0.002, retry_last=0.01)
    pool: Pool[Any] = Pool("hv", maker, policy)
    table = LeaseTable(SystemClock())
    maintenance = asyncio.create_task(maintain(lambda: [pool]))
    done = 0
    measured: list[tuple[int, int]] = []

    async def cycle(number: int) -> None:
        loan = await pool.acquire(chance.choice([0.001, 5, 5, 5]))
        terms = Terms(f"acme/{number}", "hv", "", 0.5, f"holder-of-{number:08d}")
        lease = table.grant(terms, loan)
        await asyncio.sleep(0)
        luck = chance.random()
        if luck < 0.01:
            table.kill(lease.ref)
        elif luck < 0.02:
            table.end_broken(lease)
        else:
            table.release(terms.owner, lease.lease_id, discard=luck < 0.03)

    async def caller(number: int) -> None:
        nonlocal done
        while done < CYCLES:
            work = asyncio.ensure_future(cycle(number))
            if chance.random() < 0.02:
                await asyncio.sleep(0)
                work.cancel()
            await asyncio.wait((work,))
            assert work.cancelled() or work.exception() is None or not isinstance(work.exception(), AssertionError)
            done += 1
            if done % 1000 == 0:
                conserved(pool, maker, SIZE)
            if done % (CYCLES // 10) == 0:
                measured.append((_resident(), len(os.listdir("/proc/self/fd"))))
            if not work.cancelled() and work.exception() is not None:
                await asyncio.sleep(0.001)  # refused: as a caller would, it comes again a little later

    # What ended leases are remembered by is bounded, and full before the measuring begins.
    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    # Those whose callers were cancelled while they had them have ended by themselves.
    await asyncio.sleep(1.5)
    assert len(table) == 0
    stats = pool.stats()
    assert (stats.leased, stats.waiting) == (0, 0)
    came = stats.at_once + stats.waited + stats.timeouts + stats.refused + stats.abandoned
    assert stats.requested == came
    half = len(measured) // 2
    growth = measured[-1][0] - measured[half][0]
    print(f"{done} cycles, {stats.closed}, {growth / 1024 / 1024:.1f} MiB more over the second half")
    if CYCLES >= 1_000_000:  # before, the memory of ended leases is still being filled
        assert growth < MOST_GROWTH
    assert measured[-1][1] == measured[half][1]
    maintenance.cancel()
    await asyncio.gather(maintenance, return_exceptions=True)
    await pool.close()
    assert maker.alive == 0
