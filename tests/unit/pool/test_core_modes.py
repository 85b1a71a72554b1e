"""Pause, resume, drain, recycle: what operators do to a pool. On virtual time."""

import asyncio

import pytest
from support.things import Maker
from support.virtual_time import run

from virtlease_pool.core import Mode, Policy, Pool
from virtlease_pool.core.errors import AcquireTimeout, PoolDraining


def test_while_paused_callers_wait_in_order_and_loans_go_on() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=2))
        loan = await pool.acquire(1)
        pool.pause()
        order: list[int] = []

        async def user(number: int) -> None:
            lent = await pool.acquire(100)
            order.append(number)
            lent.give_back()

        users = [asyncio.create_task(user(number)) for number in range(5)]
        await asyncio.sleep(10)
        loan.give_back()
        await asyncio.sleep(10)
        assert (order, pool.stats().mode, pool.stats().waiting) == ([], Mode.PAUSED, 5)
        with pytest.raises(AcquireTimeout, match="the pool is paused") as caught:
            await pool.acquire(1)
        assert caught.value.metadata["phase"] == "wait"
        pool.resume()
        await asyncio.gather(*users)
        assert order == [0, 1, 2, 3, 4]

    run(scenario())


def test_while_draining_callers_are_refused_and_what_is_lent_may_finish() -> None:
    async def scenario() -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=3))
        lent, idle = await pool.acquire(1), await pool.acquire(1)
        idle.give_back()
        other = await pool.acquire(1)
        third = await pool.acquire(1)
        waiter = asyncio.create_task(pool.acquire(100))
        await asyncio.sleep(0)
        third.give_back()
        (await waiter).give_back()
        pool.drain()
        with pytest.raises(PoolDraining):
            await pool.acquire(100)
        await asyncio.sleep(1)
        assert maker.alive == 2
        assert lent.connection.open
        lent.give_back()
        other.give_back()
        await asyncio.sleep(1)
        assert (maker.alive, pool.stats().closed) == (0, {"drained": 3})
        pool.resume()
        (await pool.acquire(1)).give_back()

    run(scenario())


def test_recycle_replaces_free_connections_at_once_and_others_when_they_come_back() -> None:
    async def scenario() -> None:
        maker = Maker(open_seconds=1)
        pool = Pool("p", maker, Policy(max_size=3, max_opening=3))
        lent, free = await pool.acquire(5), await pool.acquire(5)
        free.give_back()
        pool.recycle()
        await asyncio.sleep(0.1)
        assert [thing.open for thing in maker.things] == [True, False]
        # One that is being opened while the generation changes belongs to the old one
        waiters = [asyncio.create_task(pool.acquire(10)) for _ in range(2)]
        await asyncio.sleep(0.5)
        pool.recycle()
        lent.give_back()
        loans = [await waiter for waiter in waiters]
        assert [thing.open for thing in maker.things[:4]] == [False] * 4
        assert {loan.connection.number for loan in loans} == {4, 5}
        stats = pool.stats()
        assert (stats.generation, stats.closed) == (2, {"recycled": 4})

    run(scenario())
