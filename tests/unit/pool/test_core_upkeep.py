"""What the pool does by itself: ages, checks, reserves, reports. On virtual time."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import pytest
from support.things import Maker, Thing, conserved
from support.virtual_time import after_every_step, run

from virtlease_pool.core import Policy, Pool, maintain
from virtlease_pool.core.errors import AcquireTimeout


@contextlib.asynccontextmanager
async def kept(pool: Pool[Thing]) -> AsyncIterator[None]:
    """The pool, swept as in a service."""
    task = asyncio.create_task(maintain(lambda: [pool]))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def fill(pool: Pool[Thing], number: int) -> None:
    loans = [await pool.acquire(10) for _ in range(number)]
    for loan in loans:
        loan.give_back()


def test_a_connection_is_replaced_when_it_is_old_and_not_all_at_once() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=200, max_opening=200, max_lifetime=1000, idle_ttl=1e6, keepalive=1e6))
        async with kept(pool):
            await fill(pool, 200)
            await asyncio.sleep(890)
            assert maker.alive == 200
            left = []
            for _ in range(10):
                await asyncio.sleep(12)
                left.append(maker.alive)
            assert left[-1] == 0
            # Spread over a tenth of the time: no step closes half of them
            assert max(before - after for before, after in zip([200, *left], left, strict=False)) < 100
            assert pool.stats().closed == {"lifetime": 200}

    run(scenario())


def test_a_connection_that_grew_old_while_lent_is_closed_when_it_comes_back() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_lifetime=100))
        loan = await pool.acquire(1)
        await asyncio.sleep(101)
        assert maker.alive == 1
        loan.give_back()
        assert pool.stats().closed == {"lifetime": 1}

    run(scenario())


def test_so_many_are_kept_idle() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=8, min_idle=3, max_opening=2, idle_ttl=10))
        async with kept(pool):
            await asyncio.sleep(5)
            assert pool.stats().idle == 3
            loans = [await pool.acquire(1) for _ in range(3)]
            await asyncio.sleep(5)
            assert pool.stats().idle == 3
            for loan in loans:
                loan.give_back()
            await asyncio.sleep(20)
            stats = pool.stats()
            assert (stats.idle, stats.closed) == (3, {"idle": 3})

    run(scenario())


def test_idle_connections_are_asked_whether_they_live() -> None:
    async def scenario() -> None:
        maker = Maker()
        maker.check_seconds = 0.1
        pool = Pool("p", maker, Policy(max_size=4, keepalive=60, idle_ttl=1e6, max_lifetime=1e6, check_after=30))
        after_every_step(lambda: conserved(pool, maker, 4))
        async with kept(pool):
            await fill(pool, 4)
            await asyncio.sleep(50)
            assert maker.checks == 0
            await asyncio.sleep(30)
            assert maker.checks == 4
            # And what answered is lent without being asked again, the last used first
            await asyncio.sleep(5)
            loan = await pool.acquire(1)
            assert (maker.checks, loan.connection.number) == (4, 3)
            loan.give_back()
            for thing in maker.things[:2]:
                thing.dies_unnoticed()
            await asyncio.sleep(60)
            assert pool.stats().closed == {"broken": 2}

    run(scenario())


def test_a_connection_is_checked_before_it_is_lent_only_after_a_while() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(check_after=30))
        await fill(pool, 1)
        await asyncio.sleep(29)
        await fill(pool, 1)
        assert maker.checks == 0
        await asyncio.sleep(31)
        await fill(pool, 1)
        assert maker.checks == 1

    run(scenario())


def test_a_check_that_hangs_costs_one_place_and_not_the_pool() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=2, check_after=10, check_timeout=3))
        await fill(pool, 1)
        await asyncio.sleep(20)
        hung = maker.things[0]
        hung.hang()
        loop = asyncio.get_running_loop()
        started = loop.time()
        waiters = [asyncio.create_task(pool.acquire(30)) for _ in range(2)]
        first = (await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED))[0].pop().result()
        # The one that is not behind the hung check has a new connection at once
        assert loop.time() - started < 1
        await asyncio.sleep(10)
        # The hung one is closed when its call comes back, and counted until then
        assert (pool.stats().closing, pool.stats().closed, hung.open) == (1, {"broken": 1}, True)
        first.give_back()
        for waiter in waiters:
            if not waiter.done() or waiter.result() is not first:
                (await waiter).give_back()
        hung.come_back()
        await asyncio.sleep(1)
        assert (pool.stats().closing, hung.open) == (0, False)

    run(scenario())


def test_the_time_of_day_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=1, idle_ttl=300))
        async with kept(pool):
            await fill(pool, 1)
            for jump in (3600, -3600):
                now = time.time()
                monkeypatch.setattr(time, "time", lambda now=now, jump=jump: now + jump)
                await asyncio.sleep(100)
                assert maker.alive == 1
            holder = await pool.acquire(1)
            with pytest.raises(AcquireTimeout):
                await pool.acquire(5)
            holder.give_back()

    run(scenario())


def test_a_sweep_closes_no_more_than_its_budget_at_a_time() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=100, max_opening=100, idle_ttl=5))
        await fill(pool, 100)
        await asyncio.sleep(10)
        assert [pool.sweep() for _ in range(7)] == [16, 16, 16, 16, 16, 16, 4]

    run(scenario())


def test_maintenance_looks_at_few_pools_between_two_looks_at_the_loop() -> None:
    async def scenario() -> None:
        swept_in_a_step = 0
        most = 0

        class Counted(Pool[Thing]):
            def sweep(self) -> int:
                nonlocal swept_in_a_step
                swept_in_a_step += 1
                return super().sweep()

        def look() -> None:
            nonlocal swept_in_a_step, most
            most, swept_in_a_step = max(most, swept_in_a_step), 0

        pools = [Counted(str(number), Maker(), Policy()) for number in range(1000)]
        after_every_step(look)
        task = asyncio.create_task(maintain(lambda: pools))
        await asyncio.sleep(1.5)
        task.cancel()
        assert 0 < most <= 64

    run(scenario())


def test_a_loan_that_is_out_for_long_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        pool = Pool("kvm1", Maker(), Policy(leak_after=60))
        async with kept(pool):
            loan = await pool.acquire(1, "acme/alice lease-1234 trace 4bf9")
            await asyncio.sleep(200)
            assert [each.borrower for each in pool.loans()] == [loan.borrower]
            reports = [record for record in caplog.records if record.levelname == "WARNING"]
            assert len(reports) == 1
            assert "a connection to kvm1 is out for 60 s; acme/alice lease-1234 trace 4bf9 has it" in caplog.text
            loan.give_back()
            assert "was given back" in caplog.text

    run(scenario())


def test_the_size_can_change_while_it_works() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=4))
        loans = [await pool.acquire(1) for _ in range(4)]
        loans.pop().give_back()
        pool.change_policy(Policy(max_size=2))
        await asyncio.sleep(0.1)
        assert maker.alive == 3
        waiter = asyncio.create_task(pool.acquire(10))
        await asyncio.sleep(0)
        loans.pop().give_back()
        await asyncio.sleep(0.1)
        assert (maker.alive, waiter.done()) == (2, False)
        loans.pop().give_back()
        (await waiter).give_back()
        pool.change_policy(Policy(max_size=5))
        assert len({(await pool.acquire(1)).connection.number for _ in range(4)}) == 4

    run(scenario())
