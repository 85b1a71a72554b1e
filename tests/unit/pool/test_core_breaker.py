"""P6: what the pool does when it cannot connect. On virtual time."""

import asyncio
import itertools

import pytest
from support.things import Maker, Thing
from support.virtual_time import run

from virtlease_pool.core import Policy, Pool
from virtlease_pool.core.breaker import Breaker
from virtlease_pool.core.errors import ConnectTimeout, NoRoom


class Attempts(Maker):
    """Remembers when it was asked to open, and how many times at once."""

    def __init__(self, open_seconds: float = 0.1) -> None:
        super().__init__(open_seconds)
        self.at: list[float] = []
        self.now = 0
        self.most = 0

    async def open(self) -> Thing:
        self.at.append(asyncio.get_running_loop().time())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await super().open()
        finally:
            self.now -= 1


def test_p6_one_probe_at_a_time_at_growing_and_jittered_distances() -> None:
    async def scenario() -> list[float]:
        maker = Attempts()
        maker.fail = lambda: ConnectionRefusedError("nobody there")
        pool = Pool("p", maker, Policy(max_size=8, max_opening=4, retry_first=0.5, retry_last=30))
        callers = [asyncio.create_task(pool.acquire(60)) for _ in range(8)]
        await asyncio.sleep(0.2)
        assert all(isinstance(caller.exception(), ConnectionRefusedError) for caller in callers)
        first_storm = len(maker.at)
        assert first_storm <= 4
        maker.most = 0

        async def insistent() -> None:
            while True:
                with pytest.raises(ConnectionRefusedError):
                    await pool.acquire(60)
                await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(insistent()) for _ in range(20)]
        await asyncio.sleep(300)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert maker.most == 1
        distances = [b - a for a, b in itertools.pairwise(maker.at[first_storm:])]
        assert len(distances) < 25
        assert all(distance <= 30.2 for distance in distances)
        assert distances[-1] > distances[0]
        return distances

    assert run(scenario()) != run(scenario())  # no two services come at the same moments


def test_p6_it_is_back_as_soon_as_a_probe_succeeds_and_there_is_no_storm() -> None:
    async def scenario() -> None:
        maker = Attempts()
        maker.fail = lambda: ConnectionRefusedError("nobody there")
        pool = Pool("p", maker, Policy(max_size=8, max_opening=2, retry_last=2))
        with pytest.raises(ConnectionRefusedError):
            await pool.acquire(1)
        await asyncio.sleep(20)
        maker.fail = lambda: None
        maker.most = 0
        await asyncio.sleep(3)
        assert pool.stats().idle == 1
        loans = await asyncio.gather(*(pool.acquire(10) for _ in range(8)))
        assert maker.most == 2  # not eight at once
        for loan in loans:
            loan.give_back()

    run(scenario())


def test_p6_waiters_are_told_that_connecting_takes_too_long_and_the_place_stays_taken() -> None:
    async def scenario() -> None:
        maker = Attempts(open_seconds=60)
        pool = Pool("p", maker, Policy(max_size=1, connect_timeout=5))
        started = asyncio.get_running_loop().time()
        with pytest.raises(ConnectTimeout):
            await pool.acquire(30)
        assert asyncio.get_running_loop().time() - started == pytest.approx(5)
        assert pool.stats().reserved == 1
        with pytest.raises(ConnectTimeout):
            await pool.acquire(30)
        await asyncio.sleep(60)
        # It came after all, and is as good as any
        assert (pool.stats().reserved, pool.stats().idle) == (0, 1)
        (await pool.acquire(1)).give_back()

    run(scenario())


def test_p6_connections_that_work_are_lent_while_no_other_can_be_opened() -> None:
    async def scenario() -> None:
        maker = Attempts()
        pool = Pool("p", maker, Policy(max_size=2))
        (await pool.acquire(1)).give_back()
        maker.fail = lambda: OSError("too many clients")
        loan = await pool.acquire(1)
        with pytest.raises(OSError, match="too many"):
            await pool.acquire(1)
        loan.give_back()
        assert pool.stats().failing
        (await pool.acquire(1)).give_back()

    run(scenario())


def test_p6_a_pool_that_was_tripped_refuses_everybody_until_it_recovers() -> None:
    async def scenario() -> None:
        maker = Attempts()
        told: list[tuple[str, str]] = []
        pool = Pool("p", maker, Policy(max_size=1), lambda event, detail: told.append((event, detail)))
        loan = await pool.acquire(1)
        waiter = asyncio.create_task(pool.acquire(30))
        await asyncio.sleep(1)
        pool.trip(OSError("its workers are stuck"))
        for attempt in (waiter, pool.acquire(30)):
            with pytest.raises(OSError, match="stuck"):
                await attempt
        loan.give_back()
        with pytest.raises(OSError, match="stuck"):
            await pool.acquire(30)
        pool.recover()
        (await pool.acquire(1)).give_back()
        assert [event for event, _ in told] == ["opened", "failing"]

    run(scenario())


def test_p2_who_finds_no_room_waits_for_it() -> None:
    """A connector may be limited by others than this pool; its callers wait as for a place in the pool."""

    async def scenario() -> None:
        maker = Attempts(open_seconds=0)
        maker.fail = NoRoom
        pool = Pool("p", maker, Policy(max_size=4))
        order: list[int] = []

        async def user(number: int) -> None:
            loan = await pool.acquire(30)
            order.append(number)
            await asyncio.sleep(1)
            loan.give_back()

        users = [asyncio.create_task(user(number)) for number in range(4)]
        await asyncio.sleep(5)
        assert (pool.stats().waiting, pool.stats().connect_failures) == (4, 0)
        maker.fail = lambda: None
        await asyncio.gather(*users)
        assert order == [0, 1, 2, 3]

    run(scenario())


def test_p6_the_jitter_is_half_of_the_distance_and_the_distance_has_an_end() -> None:
    breaker = Breaker(1, 8, uniform=lambda low, _high: low)
    assert [breaker.failed(OSError()) for _ in range(6)] == [0.5, 1, 2, 4, 4, 4]
    breaker.worked()
    assert breaker.error is None
    breaker = Breaker(1, 8, uniform=lambda _low, high: high)
    assert [breaker.failed(OSError()) for _ in range(5)] == [1, 2, 4, 8, 8]
