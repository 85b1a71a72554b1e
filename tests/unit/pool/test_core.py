"""The pool: conservation, order, cancellation, deadlines. On virtual time."""

import asyncio
import random

import pytest
from support.things import Maker, conserved
from support.virtual_time import run

from virtlease_pool.core import Policy, Pool, maintain
from virtlease_pool.core.errors import AcquireTimeout, PoolClosed, TooManyWaiting


def test_p1_nothing_is_leaked_whatever_is_cancelled_when() -> None:
    async def scenario(seed: int) -> None:
        chance = random.Random(seed)
        maker = Maker(open_seconds=0.01, close_seconds=0.02)
        maker.fail = lambda: OSError("no luck") if chance.random() < 0.2 else None
        size = 3
        pool = Pool("p", maker, Policy(max_size=size, max_usage=5, check_after=0.05, retry_first=0.02, retry_last=0.1))

        async def user() -> None:
            loan = await pool.acquire(chance.choice([0.001, 0.02, 1.0]))
            try:
                conserved(pool, maker, size)
                await asyncio.sleep(chance.choice([0, 0.001, 0.1]))
            finally:
                loan.give_back("broken" if chance.random() < 0.1 else "")
                conserved(pool, maker, size)

        tasks = []
        for _ in range(150):
            tasks.append(asyncio.create_task(user()))
            await asyncio.sleep(chance.choice([0, 0, 0.003]))
            if chance.random() < 0.4:
                chance.choice(tasks).cancel()
            conserved(pool, maker, size)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(1)
        stats = pool.stats()
        assert (stats.leased, stats.reserved, stats.closing, stats.waiting) == (0, 0, 0, 0)
        # Every place can be had again
        maker.fail = lambda: None
        await asyncio.sleep(1)
        loans = [await pool.acquire(1) for _ in range(size)]
        assert len({loan.connection for loan in loans}) == size
        for loan in loans:
            loan.give_back()
        await pool.close()
        assert maker.alive == 0

    for seed in range(30):
        run(scenario(seed))


def test_p1_a_cancel_at_every_step_loses_nothing() -> None:
    async def scenario(step: int) -> bool:
        maker = Maker(open_seconds=0.01)
        pool = Pool("p", maker, Policy(max_size=1))
        holder = await pool.acquire(1)

        async def user() -> None:
            loan = await pool.acquire(10)
            loan.give_back()

        task = asyncio.create_task(user())
        for number in range(step):
            if number == 3:
                holder.give_back()
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        if step <= 3:
            holder.give_back()
        await asyncio.gather(task, return_exceptions=True)
        loan = await pool.acquire(1)
        loan.give_back()
        assert pool.stats().waiting == 0
        return finished

    outcomes = [run(scenario(step)) for step in range(12)]
    assert not outcomes[0]
    assert outcomes[-1]  # the cancels went through every step to the end


def test_p2_waiters_are_served_in_order_of_arrival() -> None:
    async def scenario() -> None:
        pool = Pool("p", Maker(), Policy(max_size=1))
        served: list[int] = []

        async def user(number: int) -> None:
            loan = await pool.acquire(100)
            served.append(number)
            await asyncio.sleep(0.1)
            loan.give_back()

        users = []
        for number in range(20):
            users.append(asyncio.create_task(user(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*users)
        assert served == list(range(20))

    run(scenario())


def test_p2_nobody_barges() -> None:
    async def scenario() -> None:
        pool = Pool("p", Maker(), Policy(max_size=1))
        turns = 0

        async def greedy() -> None:
            nonlocal turns
            while True:
                loan = await pool.acquire(100)
                turns += 1
                await asyncio.sleep(0.001)
                loan.give_back()

        task = asyncio.create_task(greedy())
        await asyncio.sleep(0.1)
        before = turns
        (await pool.acquire(1)).give_back()
        assert turns <= before + 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario())


@pytest.mark.parametrize("phase", ["wait", "connect", "validate"])
def test_p2_a_wait_ends_by_its_deadline_and_names_the_phase(phase: str) -> None:
    async def scenario() -> None:
        maker = Maker(open_seconds=60 if phase == "connect" else 0)
        pool = Pool("p", maker, Policy(max_size=1, check_after=1, connect_timeout=90, check_timeout=90))
        if phase == "wait":
            await pool.acquire(1)
        if phase == "validate":
            (await pool.acquire(1)).give_back()
            maker.check_seconds = 60
            await asyncio.sleep(2)
        started = asyncio.get_running_loop().time()
        with pytest.raises(AcquireTimeout) as caught:
            await pool.acquire(5)
        assert asyncio.get_running_loop().time() - started == pytest.approx(5)
        assert caught.value.metadata["phase"] == phase
        assert pool.stats().timeouts == 1

    run(scenario())


def test_p6_waiters_are_told_at_once_that_connecting_failed() -> None:
    async def scenario() -> None:
        maker = Maker(open_seconds=0.1)
        maker.fail = lambda: ConnectionRefusedError("nobody there")
        pool = Pool("p", maker, Policy(max_size=2))
        started = asyncio.get_running_loop().time()
        results = await asyncio.gather(*(pool.acquire(30) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(result, ConnectionRefusedError) for result in results)
        assert asyncio.get_running_loop().time() - started < 1
        # And so is whoever comes while it is known
        with pytest.raises(ConnectionRefusedError):
            await pool.acquire(30)
        assert pool.stats().connect_failures <= 2
        maker.fail = lambda: None
        await asyncio.sleep(1)
        (await pool.acquire(30)).give_back()

    run(scenario())


def test_connections_are_lent_last_in_first_out_and_closed_when_idle() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=4, idle_ttl=10, check_after=1000))
        maintenance = asyncio.create_task(maintain(lambda: [pool]))
        loans = [await pool.acquire(1) for _ in range(3)]
        for loan in loans:
            loan.give_back()
        for _ in range(30):
            loan = await pool.acquire(1)
            assert loan.connection.number == 2
            loan.give_back()
            await asyncio.sleep(1)
        assert pool.stats().closed == {"idle": 2}
        assert maker.alive == 1
        maintenance.cancel()

    run(scenario())


def test_a_connection_is_closed_after_so_many_loans() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=1, max_usage=3))
        seen = []
        for _ in range(7):
            loan = await pool.acquire(1)
            seen.append(loan.connection.number)
            loan.give_back()
        assert seen == [0, 0, 0, 1, 1, 1, 2]
        assert pool.stats().closed == {"usage": 2}

    run(scenario())


def test_a_broken_idle_connection_is_not_lent() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=2))
        loans = [await pool.acquire(1), await pool.acquire(1)]
        for loan in loans:
            loan.give_back()
        for thing in maker.things:
            thing.works = False
        loan = await pool.acquire(1)
        assert loan.connection.works
        loan.give_back()
        await asyncio.sleep(0.1)
        assert pool.stats().closed["broken"] >= 1
        assert maker.alive == pool.stats().idle

    run(scenario())


def test_p3_a_place_is_free_only_when_the_connection_is_closed() -> None:
    async def scenario() -> None:
        maker = Maker(close_seconds=7)
        pool = Pool("p", maker, Policy(max_size=1))
        (await pool.acquire(1)).give_back("abandoned")
        assert pool.stats().closing == 1
        started = asyncio.get_running_loop().time()
        (await pool.acquire(30)).give_back()
        assert asyncio.get_running_loop().time() - started == pytest.approx(7)

    run(scenario())


def test_a_loan_is_given_back_once() -> None:
    async def scenario() -> None:
        pool = Pool("p", Maker(), Policy(max_size=1))
        loan = await pool.acquire(1)
        loan.give_back()
        with pytest.raises(RuntimeError):
            loan.give_back()
        with pytest.raises(RuntimeError):
            _ = loan.connection
        other = await pool.acquire(1)
        with pytest.raises(RuntimeError):
            loan.give_back()
        assert pool.stats().leased == 1
        other.give_back()

    run(scenario())


def test_the_queue_is_bounded() -> None:
    async def scenario() -> None:
        pool = Pool("p", Maker(), Policy(max_size=1, max_waiting=3))
        holder = await pool.acquire(1)
        waiters = [asyncio.create_task(pool.acquire(10)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaiting):
            await pool.acquire(10)
        assert pool.stats().waiting == 3
        holder.give_back()
        (await waiters[0]).give_back()
        for waiter in waiters[1:]:
            (await waiter).give_back()

    run(scenario())


def test_a_closed_pool_tells_everybody() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=1))
        holder = await pool.acquire(1)
        waiter = asyncio.create_task(pool.acquire(10))
        await asyncio.sleep(0)
        await pool.close()
        for attempt in (waiter, pool.acquire(1)):
            with pytest.raises(PoolClosed):
                await attempt
        holder.give_back()
        await asyncio.sleep(0.1)
        assert maker.alive == 0

    run(scenario())


def test_the_oldest_wait_is_told() -> None:
    async def scenario() -> None:
        pool = Pool("p", Maker(), Policy(max_size=1))
        holder = await pool.acquire(1)
        waiter = asyncio.create_task(pool.acquire(100))
        await asyncio.sleep(8)
        assert pool.stats().oldest_wait == pytest.approx(8)
        holder.give_back()
        (await waiter).give_back()
        assert pool.stats().oldest_wait == 0

    run(scenario())
