"""Several replicas of the pool service that know each other: any serves any call, each lease stays where it is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.identities import bearer, write_identities
from support.pool_server import Served, failure, result, serve_pool
from support.processes import free_port

from virtlease.client.lease_stream import LeaseStream
from virtlease.pool.v1 import hypervisor_pb2, lease_pb2, operate_pb2, vm_inspection_pb2, vm_lifecycle_pb2
from virtlease.pool.v1 import vm_snapshot_pb2 as snapshots
from virtlease_chassis.address import Address
from virtlease_pool.leases.lease_id import LeaseId, replica_mark
from virtlease_pool.peers import Peers

NAMES = ("pool-0", "pool-1", "pool-2")
HYPERVISORS = ("kvm0", "kvm1", "kvm2", "kvm3", "kvm4", "kvm5")


class Replicas:
    """The replicas of one test, by name, each with an end of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in NAMES}
        listing = folder / "hypervisors.yaml"
        listing.write_text(
            "hypervisors:\n" + "".join(f"  - {{name: {name}, uri: 'test:///default'}}\n" for name in HYPERVISORS)
        )
        self._settings = {
            "hypervisors_file": listing,
            "peers": ",".join(f"{name}={address}" for name, address in self.addresses.items()),
            **settings,
        }
        self.served: dict[str, Served] = {}
        self._stacks: dict[str, contextlib.AsyncExitStack] = {}

    async def start(self, name: str) -> None:
        stack = self._stacks[name] = contextlib.AsyncExitStack()
        port = int(self.addresses[name].rpartition(":")[2])
        address = Address(host="127.0.0.1", port=port)
        settings = {**self._settings, "replica": name, "address": address}
        self.served[name] = await stack.enter_async_context(serve_pool(**settings))

    async def stop(self, name: str) -> None:
        del self.served[name]
        await self._stacks.pop(name).aclose()

    async def settle(self) -> None:
        """Waits until each knows which of the others serve."""
        await asyncio.sleep(1.2)

    def owner(self, hypervisor: str) -> str:
        """The preferred owner of a hypervisor among those that run."""
        peers = Peers("none", {}, lambda _: None, "")  # type: ignore[arg-type, return-value]
        peers._serving = set(self.served)
        peers.draining = True
        return peers.ranked(hypervisor)[0]


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    replicas = Replicas(tmp_path)
    for name in NAMES:
        await replicas.start(name)
    await replicas.settle()
    yield replicas
    for name in list(replicas.served):
        await replicas.stop(name)


async def pools(served: Served, hypervisor: str) -> hypervisor_pb2.PoolStats:
    answer = await served.pool.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest(hypervisor=hypervisor))
    return answer.pools[0]


def acquire(hypervisor: str, **fields: Any) -> lease_pb2.AcquireLeaseRequest:
    return lease_pb2.AcquireLeaseRequest(hypervisor=hypervisor, **fields)


async def test_a_lease_is_used_through_every_replica(replicas: Replicas) -> None:
    for hypervisor in HYPERVISORS[:3]:
        through = [replicas.served[name] for name in NAMES]
        answer = await through[0].pool.AcquireLease(acquire(hypervisor))
        lease_id = answer.lease.lease_id
        owner = replicas.owner(hypervisor)
        assert LeaseId.parse(lease_id).replica == replica_mark(owner)
        assert answer.lease.owner_address == replicas.addresses[owner]
        for served in through:
            request = vm_inspection_pb2.GetVmRequest(vm_id=f"{hypervisor}/test", lease_id=lease_id)
            assert (await served.vms.GetVm(request)).vm.name == "test"
            assert len((await served.pool.RenewLease(lease_pb2.RenewLeaseRequest(lease_id=lease_id))).leases) == 1
            create = snapshots.CreateSnapshotRequest(vm_id=f"{hypervisor}/test", lease_id=lease_id)
            assert (await result(served.vms.CreateSnapshot(create))).result.snapshot.name
        await through[2].pool.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=lease_id))
        for served in through:
            fault = await failure(served.pool.RenewLease(lease_pb2.RenewLeaseRequest(lease_id=lease_id)))
            assert fault.reason == "LEASE_RELEASED"


async def test_the_connections_of_a_hypervisor_are_in_one_place(replicas: Replicas) -> None:
    for hypervisor in HYPERVISORS:
        get = vm_inspection_pb2.GetVmRequest(vm_id=f"{hypervisor}/test")
        await asyncio.gather(*(replicas.served[name].vms.GetVm(get) for name in NAMES for _ in range(3)))
    owners = {replicas.owner(hypervisor) for hypervisor in HYPERVISORS}
    assert len(owners) > 1  # the work is shared
    for name, served in replicas.served.items():
        everything = (await served.pool.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest())).pools
        for pool in everything:
            assert (pool.opened > 0) == (replicas.owner(pool.hypervisor) == name), (name, pool)


async def test_errors_of_another_replica_are_told_as_they_are(replicas: Replicas) -> None:
    for name in NAMES:
        served = replicas.served[name]
        for hypervisor in HYPERVISORS[:3]:
            missing = await failure(served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id=f"{hypervisor}/none")))
            assert (missing.code.name, missing.reason) == ("NOT_FOUND", "VM_NOT_FOUND")
            wrong = await failure(
                served.vms.ResumeVm(vm_lifecycle_pb2.ResumeVmRequest(vm_id=f"{hypervisor}/test", lease_id="forged"))
            )
            assert wrong.reason == "LEASE_NOT_FOUND"
            bad = await failure(served.pool.AcquireLease(acquire(hypervisor, purpose="x" * 300)))
            assert bad.faults[0][0] == "purpose"


async def test_a_stream_holds_leases_of_all_replicas(replicas: Replicas) -> None:
    stream = LeaseStream(replicas.served["pool-0"].channel, ttl=3)
    leases = [(await stream.acquire(acquire(name), timeout=5)).lease for name in HYPERVISORS]
    assert len({lease.owner_address for lease in leases}) > 1
    await asyncio.sleep(5)
    for lease in leases:
        request = vm_inspection_pb2.GetVmRequest(vm_id=f"{lease.hypervisor}/test", lease_id=lease.lease_id)
        await replicas.served["pool-1"].vms.GetVm(request)
        await stream.release(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id), timeout=5)
    await stream.close()


async def test_operators_see_and_change_all_replicas(replicas: Replicas) -> None:
    leases = {}
    for hypervisor in HYPERVISORS:
        lease = (await replicas.served["pool-1"].pool.AcquireLease(acquire(hypervisor))).lease
        leases[lease.lease_ref] = lease
    served = replicas.served["pool-0"]
    first = await served.pool.ListLeases(operate_pb2.ListLeasesRequest(page_size=4))
    rest = await served.pool.ListLeases(operate_pb2.ListLeasesRequest(page_size=4, page_token=first.next_page_token))
    assert [len(first.leases), len(rest.leases), rest.next_page_token] == [4, 2, ""]
    assert {lease.lease_ref for lease in (*first.leases, *rest.leases)} == set(leases)
    assert {lease.replica for lease in (*first.leases, *rest.leases)} <= set(NAMES)
    for ref, lease in leases.items():
        await served.pool.KillLease(operate_pb2.KillLeaseRequest(lease_ref=ref))
        fault = await failure(served.pool.RenewLease(lease_pb2.RenewLeaseRequest(lease_id=lease.lease_id)))
        assert fault.reason == "LEASE_KILLED"
    for hypervisor in HYPERVISORS:
        await served.pool.Pause(operate_pb2.PauseRequest(hypervisor=hypervisor))
    for name in NAMES:
        found = await pools(replicas.served[name], "kvm0")
        assert found.mode == hypervisor_pb2.POOL_MODE_PAUSED


async def test_p7_a_replica_that_stops_hands_its_hypervisors_on_and_serves_its_leases(replicas: Replicas) -> None:
    """No call fails while replicas stop and start one after the other, and no lease is held twice."""
    outcomes: list[str] = []
    stop = False

    async def caller(number: int) -> None:
        while not stop:
            served = replicas.served.get(NAMES[0])  # the client's own replica stays
            assert served is not None
            hypervisor = HYPERVISORS[number % len(HYPERVISORS)]
            try:
                await served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id=f"{hypervisor}/test"), timeout=10)
                answer = await served.pool.AcquireLease(acquire(hypervisor), timeout=10)
                await served.pool.ReleaseLease(
                    lease_pb2.ReleaseLeaseRequest(lease_id=answer.lease.lease_id), timeout=10
                )
                outcomes.append("OK")
            except Exception as error:
                outcomes.append(str(error))

    callers = [asyncio.create_task(caller(number)) for number in range(6)]
    for name in NAMES[1:]:
        await asyncio.sleep(0.5)
        await replicas.stop(name)
        await asyncio.sleep(0.5)
        await replicas.start(name)
        await replicas.settle()
    stop = True
    await asyncio.gather(*callers)
    assert set(outcomes) == {"OK"}
    assert len(outcomes) > 50


async def test_a_lease_is_told_to_be_lost_when_its_replica_came_back(replicas: Replicas) -> None:
    hypervisor = next(name for name in HYPERVISORS if replicas.owner(name) == "pool-1")
    lease = (await replicas.served["pool-0"].pool.AcquireLease(acquire(hypervisor))).lease
    await replicas.stop("pool-1")
    request = lease_pb2.RenewLeaseRequest(lease_id=lease.lease_id)
    gone = await failure(replicas.served["pool-0"].pool.RenewLease(request))
    assert (gone.code.name, gone.reason) == ("UNAVAILABLE", "LEASE_UNREACHABLE")
    await replicas.start("pool-1")
    await replicas.settle()
    lost = await failure(replicas.served["pool-0"].pool.RenewLease(request))
    assert (lost.code.name, lost.reason) == ("ABORTED", "LEASE_LOST")


async def test_whoever_calls_is_who_they_are_at_the_other_replica(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, identity_file=write_identities(tmp_path))
    for name in NAMES:
        await replicas.start(name)
    await replicas.settle()
    try:
        served = replicas.served["pool-0"]
        for hypervisor in HYPERVISORS:
            lease = (await served.pool.AcquireLease(acquire(hypervisor), metadata=bearer("alice"))).lease
            renew = lease_pb2.RenewLeaseRequest(lease_id=lease.lease_id)
            foreign = await failure(served.pool.RenewLease(renew, metadata=bearer("bob")))
            assert foreign.reason == "LEASE_NOT_FOUND"
            await served.pool.RenewLease(renew, metadata=bearer("alice"))
    finally:
        for name in list(replicas.served):
            await replicas.stop(name)


def test_when_a_replica_goes_only_its_own_hypervisors_move() -> None:
    def peers(*serving: str) -> Peers:
        found = Peers("a", {}, lambda _: None, "")  # type: ignore[arg-type, return-value]
        found._serving = set(serving)
        return found

    names = [f"kvm{number}" for number in range(300)]
    before = {name: peers("b", "c").ranked(name)[0] for name in names}
    after = {name: peers("b").ranked(name)[0] for name in names}
    assert all(after[name] == owner for name, owner in before.items() if owner != "c")
    shares = [list(before.values()).count(owner) for owner in "abc"]
    assert min(shares) > 60
