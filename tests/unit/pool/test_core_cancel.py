"""P1 under cancellation: at every step, in every combination of luck, in storms. On virtual time."""

import asyncio
import itertools
import random

import pytest
from support.things import Maker, Thing, conserved, quiet
from support.virtual_time import VirtualTimeLoop, after_every_step, run

from virtlease_pool.core import Policy, Pool

POLICY = Policy(max_size=2, check_after=1, connect_timeout=2, check_timeout=2, retry_first=0.1, retry_last=0.2)


class Gates(Maker):
    """A maker whose steps are lucky, unlucky, slow, or stuck until the gates are opened."""

    def __init__(self, open: str = "ok", check: str = "ok", close: str = "ok") -> None:
        super().__init__()
        self.luck = {"open": open, "check": check, "close": close}
        self.opened = asyncio.Event()

    async def _pass(self, gate: str) -> None:
        match self.luck[gate]:
            case "slow":
                await asyncio.sleep(1)
            case "never":
                await self.opened.wait()
            case "error":
                raise OSError(gate)

    async def open(self) -> Thing:
        await self._pass("open")
        return await super().open()

    async def check(self, thing: Thing) -> bool:
        await self._pass("check")
        return await super().check(thing)

    async def close(self, thing: Thing) -> None:
        await super().close(thing)
        if self.luck["close"] != "error":  # a connector's close raises nothing
            await self._pass("close")


async def _user(pool: Pool[Thing], wait: str, use: str) -> None:
    loan = await pool.acquire({"ok": 30, "slow": 1.5, "error": 0, "never": 30}[wait])
    try:
        await asyncio.sleep({"ok": 0, "slow": 1, "error": 0.1, "never": 1000}[use])
    finally:
        loan.give_back("broken" if use == "error" else "")


@pytest.mark.parametrize("wait", ["ok", "slow", "error", "never"])
def test_p1_gates_1024(wait: str) -> None:
    """Each of open, check, close, wait and use goes well, goes wrong, is slow or never ends; then all is cancelled."""

    async def scenario(opening: str, check: str, close: str, use: str) -> None:
        maker = Gates()
        pool = Pool("p", maker, POLICY)
        after_every_step(lambda: conserved(pool, maker, POLICY.max_size))
        (await pool.acquire(1)).give_back()  # one is idle, and old enough to be checked
        await asyncio.sleep(3)
        maker.luck = {"open": opening, "check": check, "close": close}
        users = [asyncio.create_task(_user(pool, wait, use)) for _ in range(5)]
        for user in users:
            await asyncio.sleep(0.3)
            if wait == "never":
                user.cancel()
        await asyncio.sleep(5)
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        maker.luck = dict.fromkeys(maker.luck, "ok")
        maker.opened.set()
        await quiet(pool, maker, POLICY.max_size)

    luck = ["ok", "error", "slow", "never"]
    for combination in itertools.product(luck, repeat=4):
        run(scenario(*combination))


@pytest.mark.parametrize("old", [False, True], ids=["opened", "checked"])
def test_p1_a_cancel_at_every_await_loses_nothing(old: bool) -> None:
    async def scenario(step: int) -> bool:
        maker = Gates(open="slow", check="slow", close="slow")
        pool = Pool("p", maker, POLICY)
        if old:
            (await pool.acquire(5)).give_back()
            await asyncio.sleep(2)
        task = asyncio.create_task(_user(pool, "ok", "error"))
        bystander = asyncio.create_task(_user(pool, "ok", "slow"))
        steps = 0

        def count() -> None:
            nonlocal steps
            conserved(pool, maker, POLICY.max_size)
            steps += 1
            if steps == step:
                task.cancel()

        after_every_step(count)
        await asyncio.gather(task, bystander, return_exceptions=True)
        assert bystander.exception() is None
        was_cancelled = task.cancelled()
        await quiet(pool, maker, POLICY.max_size)
        return was_cancelled

    cancelled = [run(scenario(step)) for step in range(1, 40)]
    assert cancelled.count(True) >= 5  # the cancels met it at work
    assert not cancelled[-1]  # and went on to its end


def test_p1_every_interleaving_of_two_users_of_one_place() -> None:
    """All schedules of two users with up to twelve switches between them."""

    async def user(pool: Pool[Thing], pauses: list[bool]) -> None:
        for pause in pauses[:3]:
            if pause:
                await asyncio.sleep(0)
        loan = await pool.acquire(10)
        for pause in pauses[3:]:
            if pause:
                await asyncio.sleep(0)
        loan.give_back()

    async def scenario(schedule: list[bool]) -> None:
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=1, max_usage=2))
        after_every_step(lambda: conserved(pool, maker, 1))
        await asyncio.gather(user(pool, schedule[:6]), user(pool, schedule[6:]))
        stats = pool.stats()
        assert (stats.leased, stats.waiting, stats.acquired) == (0, 0, 2)
        await pool.close()

    for schedule in itertools.product([False, True], repeat=12):
        run(scenario(list(schedule)))


@pytest.mark.parametrize("mode", ["cancel", "connect errors", "timeouts"])
def test_p1_cancel_storm(mode: str) -> None:
    """Many users, cancelled at random moments; afterwards all places are there, and nobody hangs."""

    async def scenario(seed: int) -> None:
        chance = random.Random(seed)
        maker = Maker(open_seconds=0.02, close_seconds=0.01)
        if mode == "connect errors":
            maker.fail = lambda: OSError("no luck") if chance.random() < 0.3 else None
        policy = Policy(max_size=4, max_usage=7, check_after=0.05, retry_first=0.01, retry_last=0.05)
        pool = Pool("p", maker, policy)
        after_every_step(lambda: conserved(pool, maker, 4))

        async def user() -> None:
            loan = await pool.acquire(chance.choice([0, 0.01, 0.03]) if mode == "timeouts" else 5)
            try:
                await asyncio.sleep(chance.choice([0, 0.001, 0.02]))
            finally:
                loan.give_back("broken" if chance.random() < 0.1 else "")

        users = []
        for _ in range(200):
            users.append(asyncio.create_task(user()))
            await asyncio.sleep(chance.choice([0, 0, 0, 0.004]))
            if chance.random() < 0.5:
                chance.choice(users).cancel()
        _, hung = await asyncio.wait(users, timeout=60)
        assert not hung
        await quiet(pool, maker, 4)

    for seed in range(8):
        run(scenario(seed))


def test_p1_no_wakeup_is_lost() -> None:
    """Many more users than places: all the work is done, in as much time as it takes."""

    async def scenario() -> None:
        chance = random.Random(7)
        maker = Maker()
        pool = Pool("p", maker, Policy(max_size=3, max_usage=50))
        held = 0.0

        async def user() -> None:
            nonlocal held
            for _ in range(20):
                loan = await pool.acquire(10_000)
                seconds = chance.random()
                held += seconds
                await asyncio.sleep(seconds)
                loan.give_back()

        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(user() for _ in range(100)))
        # No place stood empty while somebody waited
        assert asyncio.get_running_loop().time() - started < held / 3 + 2
        await quiet(pool, maker, 3)

    run(scenario())


def test_p2_a_cancel_is_never_swallowed() -> None:
    """What bounds an acquire from outside ends it in that moment, whatever the pool is about."""

    async def scenario(gate: str) -> None:
        maker = Gates()
        pool = Pool("p", maker, POLICY)
        (await pool.acquire(1)).give_back()
        await asyncio.sleep(3)
        maker.luck = {"open": "ok", "check": "ok", "close": "ok", gate: "never"}
        if gate == "close":
            maker.things[0].works = False
        loop = asyncio.get_running_loop()
        others = [asyncio.create_task(_user(pool, "ok", "never")) for _ in range(3)]
        await asyncio.sleep(0)
        started = loop.time()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.acquire(1000), 0.5)
        assert loop.time() - started == pytest.approx(0.5)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        maker.opened.set()
        maker.luck[gate] = "ok"
        await quiet(pool, maker, POLICY.max_size)

    for gate in ("open", "check", "close"):
        run(scenario(gate))


def test_virtual_time_tells_of_a_broken_invariant() -> None:
    """The checks above would be worth nothing otherwise."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        after_every_step(lambda: pytest.fail("broken", pytrace=False) if loop.time() > 1001 else None)
        await asyncio.sleep(2)
        await asyncio.sleep(0)

    with pytest.raises(pytest.fail.Exception):
        run(scenario())
