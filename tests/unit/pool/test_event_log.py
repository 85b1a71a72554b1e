"""The log that watches read. On virtual time."""

import asyncio

import pytest
from support.virtual_time import run

from virtlease_chassis.errors import InvalidArgument
from virtlease_pool.errors import Compacted
from virtlease_pool.event_log import EventLog


def test_everybody_reads_everything_in_order_at_their_own_pace() -> None:
    async def scenario() -> None:
        log: EventLog[int] = EventLog(most=2000)

        async def reader(pause: float) -> list[int]:
            cursor, read = log.cursor(""), []
            while len(read) < 1000:
                read += await cursor.events(10)
                await asyncio.sleep(pause)
            return read

        readers = [asyncio.create_task(reader(pause)) for pause in (0, 0.1, 3)]
        await asyncio.sleep(0)
        for number in range(1000):
            log.append(number)
            await asyncio.sleep(0.001)
        for task in readers:
            assert await task == list(range(1000))

    run(scenario())


def test_a_token_is_a_place_to_go_on_from_for_as_long_as_it_is_kept() -> None:
    async def scenario() -> None:
        log: EventLog[int] = EventLog(most=10)
        cursor = log.cursor("")
        for number in range(5):
            log.append(number)
        assert await log.cursor(cursor.token).events(1) == [0, 1, 2, 3, 4]
        for number in range(5, 10):
            log.append(number)
        assert await log.cursor(cursor.token).events(1) == list(range(10))
        log.append(10)
        with pytest.raises(Compacted):
            log.cursor(cursor.token)
        with pytest.raises(Compacted):
            await cursor.events(1)
        other: EventLog[int] = EventLog()
        with pytest.raises(Compacted):  # of another life
            other.cursor(cursor.token)
        for nonsense in ("x", "x-", "1-2-3", f"{cursor.token}9" * 3, "-1"):
            with pytest.raises((InvalidArgument, Compacted)):
                log.cursor(nonsense)

    run(scenario())


def test_nothing_comes_after_the_time_is_up() -> None:
    async def scenario() -> None:
        log: EventLog[int] = EventLog()
        assert await log.cursor("").events(5) == []
        assert asyncio.get_running_loop().time() == pytest.approx(1005)

    run(scenario())
