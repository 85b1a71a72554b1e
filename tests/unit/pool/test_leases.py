"""Leases: who may use them, how long they live, what happens to calls on them. On virtual time."""

import asyncio
from typing import Any

import pytest
from support.virtual_time import after_every_step, run

from virtlease_chassis.clock import FakeClock
from virtlease_pool.core import Policy, Pool
from virtlease_pool.errors import LeaseBusy, LeaseExpired, LeaseKilled, LeaseLost, LeaseNotFound, LeaseReleased
from virtlease_pool.leases import Lease, LeaseTable
from virtlease_pool.leases.lease import MOST_WAITING, Terms

ME, OTHER = "acme/alice", "acme/bob"


class Wire:
    """A connection whose calls take as long as they say."""

    def __init__(self) -> None:
        self.closed = False
        self.busy = asyncio.Event()
        """Calls return while it is set."""
        self.busy.set()
        self._running: list[asyncio.Task[Any]] = []
        self.calls: list[Any] = []

    fault = ""

    async def run(self, call: Any) -> Any:
        self.calls.append(call)
        self._running.append(asyncio.create_task(self.busy.wait()))
        await asyncio.shield(self._running[-1])
        return call

    async def quiet(self) -> None:
        """Waits for calls whose callers are gone, too."""
        await asyncio.gather(*self._running)

    def taint(self) -> None:
        self.fault = "tainted"

    async def alive(self) -> bool:
        return True

    async def close(self) -> None:
        await self.quiet()
        self.closed = True


async def use(lease: Lease, call: Any) -> Any:
    """A call on a lease, when its turn has come."""
    async with lease.turn(str(call)):
        return await lease.run(call)


class Wires:
    def __init__(self) -> None:
        self.all: list[Wire] = []

    async def open(self) -> Wire:
        self.all.append(Wire())
        return self.all[-1]

    def fault(self, wire: Wire) -> str:
        return wire.fault

    async def check(self, wire: Wire) -> bool:
        return True

    async def close(self, wire: Wire) -> None:
        await wire.close()


class Fixture:
    def __init__(self, size: int = 1) -> None:
        self.wires = Wires()
        self.pool: Pool[Any] = Pool("hv", self.wires, Policy(max_size=size))
        self.table = LeaseTable(FakeClock())

    async def lease(self, owner: str = ME, holder: str = "h" * 16, ttl: float = 15) -> Lease:
        terms = Terms(owner=owner, hypervisor="hv", vm_id="", ttl=ttl, holder_id=holder)
        return self.table.grant(terms, await self.pool.acquire(1))


def test_p3_a_lease_that_nobody_renews_ends_and_its_connection_is_closed() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        await asyncio.sleep(14.9)
        assert fixture.table.find(ME, lease.lease_id) is lease
        await asyncio.sleep(0.2)
        with pytest.raises(LeaseExpired):
            fixture.table.find(ME, lease.lease_id)
        with pytest.raises(LeaseExpired):  # a call that had found the lease before
            await use(lease, "late")
        await asyncio.sleep(0)
        assert fixture.wires.all[0].closed
        assert fixture.wires.all[0].calls == []
        assert fixture.pool.stats().closed == {"expired": 1}

    run(scenario())


def test_renewing_and_use_keep_a_lease() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        await asyncio.sleep(10)
        lease.renew(None)
        await asyncio.sleep(10)
        await use(lease, "use")
        await asyncio.sleep(10)
        assert fixture.table.find(ME, lease.lease_id)
        lease.renew(100)
        await asyncio.sleep(99)
        assert fixture.table.find(ME, lease.lease_id)
        await asyncio.sleep(2)
        assert len(fixture.table) == 0

    run(scenario())


def test_a_call_that_somebody_waits_for_keeps_a_lease() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        wire = fixture.wires.all[0]
        wire.busy.clear()
        call = asyncio.create_task(use(lease, "long"))
        await asyncio.sleep(60)
        assert fixture.table.find(ME, lease.lease_id) is lease
        wire.busy.set()
        assert await call == "long"
        await asyncio.sleep(16)
        assert len(fixture.table) == 0

    run(scenario())


def test_p3_a_call_whose_caller_is_gone_does_not_keep_a_lease() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        wire = fixture.wires.all[0]
        wire.busy.clear()
        call = asyncio.create_task(use(lease, "long"))
        await asyncio.sleep(1)
        call.cancel()
        await asyncio.sleep(30)
        assert len(fixture.table) == 0
        # The call has not come back: the place stays taken until it has
        stats = fixture.pool.stats()
        assert (stats.closing, wire.closed) == (1, False)
        wire.busy.set()
        await asyncio.sleep(0.1)
        assert (fixture.pool.stats().closing, wire.closed) == (0, True)

    run(scenario())


def test_release_gives_the_connection_to_the_next() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        fixture.table.release(ME, lease.lease_id, discard=False)
        other = await fixture.lease(OTHER)
        assert len(fixture.wires.all) == 1
        # A second release, and a call with the old id, are told so and touch nobody else
        for late in (lambda: fixture.table.release(ME, lease.lease_id, discard=True),):
            with pytest.raises(LeaseReleased):
                late()
        with pytest.raises(LeaseReleased):
            await use(lease, "late")
        assert await use(other, "mine") == "mine"
        assert fixture.wires.all[0].calls == ["mine"]

    run(scenario())


def test_discard_closes_the_connection() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        fixture.table.release(ME, lease.lease_id, discard=True)
        await fixture.lease()
        assert len(fixture.wires.all) == 2

    run(scenario())


def test_a_release_under_a_call_lets_it_finish_and_closes_the_connection() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        wire = fixture.wires.all[0]
        wire.busy.clear()
        call = asyncio.create_task(use(lease, "running"))
        await asyncio.sleep(0)
        fixture.table.release(ME, lease.lease_id, discard=False)
        wire.busy.set()
        assert await call == "running"
        await asyncio.sleep(0.1)
        assert wire.closed

    run(scenario())


def test_calls_on_a_lease_queue_in_order_and_are_bounded() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        wire = fixture.wires.all[0]
        wire.busy.clear()
        calls = [asyncio.create_task(use(lease, number)) for number in range(1 + MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(LeaseBusy):
            await use(lease, "one too many")
        wire.busy.set()
        assert await asyncio.gather(*calls) == list(range(1 + MOST_WAITING))
        assert wire.calls == list(range(1 + MOST_WAITING))

    run(scenario())


def test_a_forged_a_foreign_and_an_old_id() -> None:
    async def scenario() -> None:
        fixture, before = Fixture(), Fixture()
        lease = await fixture.lease()
        old = await before.lease()
        for forged in ("", "x", "A" * 34, lease.lease_id[:-1], lease.lease_id + "A", "é" * 10):
            with pytest.raises((LeaseNotFound, LeaseLost)):
                fixture.table.find(ME, forged)
        tampered = lease.lease_id[:-2] + ("AA" if lease.lease_id[-2:] != "AA" else "BB")
        with pytest.raises(LeaseNotFound):
            fixture.table.find(ME, tampered)
        with pytest.raises(LeaseNotFound):
            fixture.table.find(OTHER, lease.lease_id)
        with pytest.raises(LeaseNotFound):
            fixture.table.release(OTHER, lease.lease_id, discard=True)
        with pytest.raises(LeaseLost):  # of another life of the replica
            fixture.table.find(ME, old.lease_id)
        # An end is told to the owner alone
        fixture.table.release(ME, lease.lease_id, discard=False)
        with pytest.raises(LeaseNotFound):
            fixture.table.find(OTHER, lease.lease_id)

    run(scenario())


def test_a_holder_has_several_leases() -> None:
    async def scenario() -> None:
        fixture = Fixture(size=3)
        leases = {await fixture.lease(holder="one" * 8), await fixture.lease(holder="one" * 8)}
        await fixture.lease(holder="two" * 8)
        assert set(fixture.table.held_by(ME, "one" * 8)) == leases
        with pytest.raises(LeaseNotFound):
            fixture.table.held_by(OTHER, "one" * 8)
        await asyncio.sleep(16)
        with pytest.raises(LeaseNotFound):
            fixture.table.held_by(ME, "one" * 8)

    run(scenario())


def test_the_public_name_tells_nothing_of_the_secret() -> None:
    async def scenario() -> None:
        lease = await Fixture().lease()
        assert lease.ref.startswith("lease-")
        assert lease.ref.removeprefix("lease-") not in lease.lease_id

    run(scenario())


def test_p3_a_thousand_leases_that_end_together_are_ended_a_few_at_a_time() -> None:
    async def scenario() -> None:
        fixture = Fixture(size=1000)
        leases = [await fixture.lease() for _ in range(1000)]
        ended_in_a_step = most = 0

        def count(_lease: Lease, _error: Exception) -> None:
            nonlocal ended_in_a_step
            ended_in_a_step += 1

        def look() -> None:
            nonlocal ended_in_a_step, most
            most, ended_in_a_step = max(most, ended_in_a_step), 0

        fixture.table.on_end.append(count)
        after_every_step(look)
        await asyncio.sleep(15.1)
        # Whatever the sweep has come to, all of them are refused
        with pytest.raises(LeaseExpired):
            fixture.table.find(ME, leases[-1].lease_id)
        await asyncio.sleep(2)
        assert (len(fixture.table), fixture.pool.stats().leased) == (0, 0)
        assert most == 32
        assert all(wire.closed for wire in fixture.wires.all)

    run(scenario())


def test_p3_a_call_that_waited_behind_a_hung_one_never_reaches_libvirt_after_the_end() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        lease = await fixture.lease()
        wire = fixture.wires.all[0]
        wire.busy.clear()
        hung = asyncio.create_task(use(lease, "hung"))
        await asyncio.sleep(0)
        hung.cancel()
        await asyncio.sleep(0)
        late = asyncio.create_task(use(lease, "late"))
        await asyncio.sleep(0)
        fixture.table.kill(lease.ref)
        wire.busy.set()
        with pytest.raises(LeaseKilled):
            await late
        assert wire.calls == ["hung"]

    run(scenario())


def test_a_holder_keeps_its_leases_with_one_write_and_loses_them_after_the_grace() -> None:
    class Stream:
        def __init__(self) -> None:
            self.told: list[tuple[str, str]] = []

        def lost(self, lease: Lease, error: Exception) -> None:
            self.told.append((lease.lease_id, type(error).__name__))

        def replaced(self) -> None: ...

    async def scenario() -> None:
        fixture = Fixture(size=2)
        stream = Stream()
        holder = fixture.table.holder(ME, "h" * 16, 15)
        holder.attach(stream)
        leases = [await fixture.lease() for _ in range(2)]
        for _ in range(20):
            await asyncio.sleep(5)
            holder.heartbeat()
        assert len(fixture.table) == 2
        # A break and a return within the grace time
        holder.detach(stream, 5)
        await asyncio.sleep(4)
        other = Stream()
        holder.attach(other)
        await asyncio.sleep(14)
        assert len(fixture.table) == 2
        fixture.table.kill(leases[0].ref)
        assert other.told == [(leases[0].lease_id, "LeaseKilled")]
        # A break for good
        holder.detach(other, 5)
        await asyncio.sleep(5.5)
        assert len(fixture.table) == 0
        assert stream.told == []

    run(scenario())


def test_released_leases_leave_nothing_behind() -> None:
    async def scenario() -> None:
        fixture = Fixture()
        for _ in range(2000):
            lease = await fixture.lease()
            fixture.table.release(ME, lease.lease_id, discard=False)
        assert len(fixture.table) == 0
        assert not fixture.table._holders
        assert not any(fixture.table._expiry._buckets.values())

    run(scenario())
