"""Slots in a real Redis: the cap over replicas, and what becomes of it when a replica or Redis goes away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.redis_server import RedisServer, redis_server

from virtlease_chassis.redis_url import parse
from virtlease_pool.core import Policy, Pool
from virtlease_pool.core.errors import NoRoom
from virtlease_pool.slots import Claim, ClaimingConnector, RedisSlots

CAP = 6
TTL = 1.2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@contextlib.asynccontextmanager
async def replica(server: RedisServer, name: str, replicas: int = 3) -> AsyncIterator[RedisSlots]:
    slots = RedisSlots(parse(server.url), "test", name, replicas, TTL)
    keeping = asyncio.create_task(slots.keep())
    yield slots
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await slots.close()


async def claims(slots: RedisSlots, count: int, cap: int = CAP, hypervisor: str = "host") -> list[Claim]:
    """As many as there are, `count` at most."""
    answers = await asyncio.gather(*(slots.claim(hypervisor, cap) for _ in range(count)), return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, Claim | NoRoom), answer
    return [answer for answer in answers if isinstance(answer, Claim)]


async def test_p5_the_cap_holds_over_replicas(server) -> None:
    async with replica(server, "a") as a, replica(server, "b") as b, replica(server, "c") as c:
        found = await asyncio.gather(*(claims(slots, 10) for slots in (a, b, c)))
        assert sum(map(len, found)) == CAP
        assert a.held("host") + b.held("host") + c.held("host") == CAP
        holder = next(slots for slots, mine in zip((a, b, c), found, strict=True) if mine)
        await holder.give_back(next(mine for mine in found if mine)[0])
        assert len(await claims(b, 3)) == 1
        assert len(await claims(c, 3, cap=CAP + 2)) == 2  # each hypervisor's cap is what its entry says now


async def test_p5_a_claim_is_renewed_for_as_long_as_its_replica_lives(server) -> None:
    async with replica(server, "a") as a, replica(server, "b") as b:
        mine = await claims(a, CAP)
        await asyncio.sleep(2 * TTL)
        assert not any(claim.lost for claim in mine)
        assert await claims(b, 1) == []


async def test_p5_a_dead_replica_frees_its_slots_within_their_time(server) -> None:
    async with replica(server, "b") as b:
        dead = RedisSlots(parse(server.url), "test", "dead", 3, TTL)
        assert len(await claims(dead, CAP)) == CAP
        assert await claims(b, 1) == []
        await asyncio.sleep(TTL + 0.2)  # nobody renews
        assert len(await claims(b, CAP)) == CAP
        await dead._client.aclose()


async def test_p5_without_redis_each_has_its_share(server) -> None:
    async with replica(server, "a") as a, replica(server, "b") as b:
        mine = await claims(a, 5)
        server.stop()
        assert await claims(b, 4) == []  # `a` may still have them all
        assert not any(claim.lost for claim in mine)
        await asyncio.sleep(TTL)
        # What is beyond the share was given up before others take theirs
        assert [claim.lost for claim in mine] == [False, False, True, True, True]
        assert (a.reachable, b.reachable) == (False, False)
        assert len(await claims(b, 4)) == CAP // 3
        assert await claims(a, 2) == []  # it has its share already


async def test_p5_redis_that_comes_back_empty_waits_for_those_it_forgot(server) -> None:
    async with replica(server, "a") as a, replica(server, "b") as b:
        mine = await claims(a, 4)
        await claims(b, 1)
        server.stop()
        server.start()
        assert await claims(b, 5) == []  # it would see five free places that are not free
        await asyncio.sleep(TTL + 0.3)
        assert not any(claim.lost for claim in mine)
        assert len(await claims(b, 5)) == 1


async def test_a_hypervisor_that_is_new_is_none_that_was_forgotten(server) -> None:
    async with replica(server, "a") as a:
        assert len(await claims(a, 2)) == 2
        assert len(await claims(a, 2, hypervisor="another")) == 2


async def test_p5_redis_that_stands_still_takes_nothing_away(server) -> None:
    async with replica(server, "a", 2) as a:
        mine = await claims(a, 3)
        server.pause()
        async with asyncio.timeout(3):
            assert await claims(a, 1) == []
        server.resume()
        await asyncio.sleep(TTL / 2)
        assert a.reachable
        assert not any(claim.lost for claim in mine)
        assert len(await claims(a, 4)) == 3


class Counting:
    """A connector that counts what is open, at all replicas together."""

    open_now = 0
    most = 0

    async def open(self) -> object:
        Counting.open_now += 1
        Counting.most = max(Counting.most, Counting.open_now)
        await asyncio.sleep(0.002)
        return object()

    def fault(self, _connection: object) -> str:
        return ""

    async def check(self, _connection: object) -> bool:
        return True

    async def close(self, _connection: object) -> None:
        await asyncio.sleep(0.002)
        Counting.open_now -= 1


async def test_p5_pools_of_three_replicas_share_one_cap(server) -> None:
    Counting.open_now = Counting.most = 0
    # Each loan gives its slot back: idle connections keep their slots, and so each hypervisor has a preferred replica
    policy = Policy(max_size=CAP, max_usage=1, max_opening=CAP)
    async with replica(server, "a") as a, replica(server, "b") as b, replica(server, "c") as c:
        pools = [Pool("host", ClaimingConnector(Counting(), slots, "host", lambda: CAP), policy) for slots in (a, b, c)]
        served = [0, 0, 0]

        async def use(number: int) -> None:
            for _ in range(12):
                loan = await pools[number].acquire(20)
                await asyncio.sleep(0.003)
                loan.give_back()
                served[number] += 1

        await asyncio.gather(*(use(number) for number in range(3) for _ in range(4)))
        assert served == [48, 48, 48]
        assert Counting.most <= CAP
        for pool in pools:
            await pool.close()
        assert Counting.open_now == 0
        assert [slots.held("host") for slots in (a, b, c)] == [0, 0, 0]


async def test_p5_a_connection_whose_slot_is_lost_is_closed_when_it_is_given_back(server) -> None:
    Counting.open_now = 0
    async with replica(server, "a") as a:
        pool = Pool("host", ClaimingConnector(Counting(), a, "host", lambda: CAP), Policy(max_size=CAP))
        loan = await pool.acquire(5)
        (claim,) = a._claims["host"].values()
        claim.lost = True
        assert Counting.open_now == 1  # who has it keeps it
        loan.give_back()
        await asyncio.sleep(0.05)
        assert Counting.open_now == 0
        assert pool.stats().closed == {"slot_lost": 1}
        await pool.close()
