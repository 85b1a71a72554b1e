"""What is pooled where a test is about the pool, and how it comes and goes."""

import asyncio
from collections.abc import Callable

from virtlease_pool.core import Pool


class Thing:
    """What is pooled."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = True
        self.works = True
        self.answers = True
        self._back = asyncio.Event()
        self._back.set()

    def dies_unnoticed(self) -> None:
        """Only a check finds out."""
        self.answers = False

    def hang(self) -> None:
        """Checks do not return, and neither does closing it."""
        self._back.clear()

    def come_back(self) -> None:
        """Whatever hung returns."""
        self._back.set()

    async def back(self) -> None:
        await self._back.wait()


class Maker:
    """Opens, checks and closes things, in the time and with the luck that a test gives it."""

    def __init__(self, open_seconds: float = 0.0, close_seconds: float = 0.0) -> None:
        self.open_seconds = open_seconds
        self.close_seconds = close_seconds
        self.check_seconds = 0.0
        self.checks = 0
        self.fail: Callable[[], Exception | None] = lambda: None
        self.things: list[Thing] = []

    async def open(self) -> Thing:
        await asyncio.sleep(self.open_seconds)
        if error := self.fail():
            raise error
        self.things.append(Thing(len(self.things)))
        return self.things[-1]

    def fault(self, thing: Thing) -> str:
        return "" if thing.works else "broken"

    async def check(self, thing: Thing) -> bool:
        self.checks += 1
        await asyncio.sleep(self.check_seconds)
        await thing.back()
        return thing.works and thing.answers

    async def close(self, thing: Thing) -> None:
        assert thing.open, "closed twice"
        await asyncio.sleep(self.close_seconds)
        await thing.back()
        thing.open = False

    @property
    def alive(self) -> int:
        return sum(thing.open for thing in self.things)


def conserved(pool: Pool[Thing], maker: Maker, size: int) -> None:
    """P1: the sum is within the cap, and open things are exactly those that the pool counts."""
    stats = pool.stats()
    assert min(stats.idle, stats.leased, stats.reserved, stats.closing, stats.waiting) >= 0
    assert stats.idle + stats.leased + stats.reserved + stats.closing <= size
    assert stats.idle + stats.leased <= maker.alive <= size


async def quiet(pool: Pool[Thing], maker: Maker, size: int) -> None:
    """Nothing is left behind, and every place can be had again."""
    maker.fail = lambda: None
    pool.recover()
    await asyncio.sleep(100)
    stats = pool.stats()
    assert (stats.leased, stats.reserved, stats.closing, stats.waiting) == (0, 0, 0, 0)
    assert stats.idle == maker.alive
    assert stats.requested == stats.at_once + stats.waited + stats.timeouts + stats.refused + stats.abandoned
    loans = [await pool.acquire(10) for _ in range(size)]
    assert len({id(loan.connection) for loan in loans}) == size
    for loan in loans:
        loan.give_back()
    await pool.close()
    assert maker.alive == 0
