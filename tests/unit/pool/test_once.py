"""Writes with a request id have their effect once."""

import asyncio

import pytest

from virtlease_chassis.clock import FakeClock
from virtlease_pool.errors import OutcomeUnknown, RequestIdReused
from virtlease_pool.once import Once


class Work:
    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> object:
        self.runs += 1
        outcome = self.outcomes.pop(0)
        await self.gate.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def once() -> tuple[Once, FakeClock]:
    clock = FakeClock()
    return Once(clock, keep=lambda error: isinstance(error, OutcomeUnknown)), clock


async def test_a_retry_gets_the_first_outcome() -> None:
    log, clock = once()
    work = Work("first", "second")
    assert await log.run("me", "M", "r", b"f", work) == "first"
    assert await log.run("me", "M", "r", b"f", work) == "first"
    with pytest.raises(RequestIdReused):
        await log.run("me", "M", "r", b"another body", work)
    assert await log.run("you", "M", "r", b"another body", work) == "second"
    clock.advance(601)
    assert await log.run("me", "M", "r", b"f", Work("anew")) == "anew"


async def test_what_is_old_is_forgotten() -> None:
    log, clock = once()
    for number in range(1200):
        await log.run("me", "M", f"{number}", b"f", Work("done"))
    forgetting = asyncio.create_task(log.forget(0.001))
    await asyncio.sleep(0.01)
    assert len(log) == 1200
    clock.advance(601)
    async with asyncio.timeout(2):
        while len(log):
            await asyncio.sleep(0.001)
    forgetting.cancel()


async def test_a_retry_joins_a_write_that_runs_even_if_its_caller_is_gone() -> None:
    log, _ = once()
    work = Work("done")
    work.gate.clear()
    first = asyncio.create_task(log.run("me", "M", "r", b"f", work))
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(log.run("me", "M", "r", b"f", work))
    await asyncio.sleep(0)
    work.gate.set()
    assert await second == "done"
    assert first.cancelled()
    assert work.runs == 1


async def test_a_failure_without_effect_may_be_tried_again_and_an_unknown_outcome_stays() -> None:
    log, _ = once()
    work = Work(ValueError("no"), "yes")
    with pytest.raises(ValueError, match="no"):
        await log.run("me", "M", "r", b"f", work)
    assert await log.run("me", "M", "r", b"f", work) == "yes"
    unknown = Work(OutcomeUnknown("hv"), "never")
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await log.run("me", "M", "u", b"f", unknown)
    assert unknown.runs == 1
