"""Hypervisors and guests that hang: who is held up, and who is not."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import libvirt
import pytest
from support.guests import Guest
from support.libvirtd import Libvirtd
from support.pool_server import Served, failure, serve_pool

from virtlease.pool.v1 import hypervisor_pb2, lease_pb2, vm_inspection_pb2, vm_lifecycle_pb2

Kvm = tuple[Libvirtd, list[Guest]]
GET_TWO = vm_inspection_pb2.GetVmRequest(vm_id="kvm/two")


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def health(served: Served) -> str:
    answer = await served.pool.ListHypervisors(hypervisor_pb2.ListHypervisorsRequest())
    return hypervisor_pb2.HypervisorHealth.Name(answer.hypervisors[0].health).removeprefix("HYPERVISOR_HEALTH_")


async def until_health(served: Served, expected: str, seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while (found := await health(served)) != expected:
        assert asyncio.get_running_loop().time() < deadline, f"{found}, not {expected}"
        await asyncio.sleep(0.2)


def start(daemon: Libvirtd, *guests: Guest) -> None:
    connection = libvirt.open(daemon.uri)
    for guest in guests:
        connection.lookupByName(guest.name).create()
    connection.close()


@pytest.mark.timeout(120)
async def test_p4_hung_vm_isolation(kvm: Kvm) -> None:
    """A frozen QEMU holds two calls, and no more; the other VM is worked with as ever, by calls and by leases."""
    daemon, (one, two) = kvm
    await asyncio.to_thread(start, daemon, one, two)
    async with serve_pool(hypervisor_uri=daemon.uri, hypervisor_name="kvm", max_size=4) as served:
        lease = (await served.pool.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="kvm"))).lease
        with frozen(one.pid):
            suspend = vm_lifecycle_pb2.SuspendVmRequest(vm_id="kvm/one")
            stuck = [served.vms.SuspendVm(suspend, timeout=100) for _ in range(12)]
            await asyncio.sleep(1)
            for _ in range(10):
                await served.vms.GetVm(GET_TWO, timeout=5)
                on_lease = vm_inspection_pb2.GetVmRequest(vm_id="kvm/two", lease_id=lease.lease_id)
                await served.vms.GetVm(on_lease, timeout=5)
            await served.vms.SuspendVm(vm_lifecycle_pb2.SuspendVmRequest(vm_id="kvm/two"), timeout=5)
            (stats,) = (await served.pool.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest())).pools
            assert stats.in_flight == 2
            assert await health(served) == "UP"
        outcomes = await asyncio.gather(*stuck, return_exceptions=True)
        reasons = {type(outcome).__name__ for outcome in outcomes}
        # One of them suspended it; to the others it already was
        assert sum(not isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes) >= 1, reasons


@pytest.mark.timeout(150)
async def test_p4_a_hung_hypervisor_delays_no_other(kvm: Kvm, tmp_path: Any) -> None:
    daemon, (_, two) = kvm
    await asyncio.to_thread(start, daemon, two)
    listing = tmp_path / "hypervisors.yaml"
    listing.write_text(f"hypervisors: [{{name: kvm, uri: '{daemon.uri}'}}, {{name: local, uri: 'test:///default'}}]")
    async with serve_pool(hypervisors_file=listing) as served:
        await served.vms.GetVm(GET_TWO)
        with frozen(daemon.pid):
            stuck = [served.vms.GetVm(GET_TWO, timeout=60) for _ in range(20)]
            await asyncio.sleep(0.5)
            local = vm_inspection_pb2.GetVmRequest(vm_id="local/test")
            for _ in range(50):
                await served.vms.GetVm(local, timeout=5)
            lease = (await served.pool.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="local"), timeout=5)).lease
            await served.pool.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id), timeout=5)
        await asyncio.gather(*stuck, return_exceptions=True)


@pytest.mark.timeout(150)
async def test_p6_keepalive_crash_guard(kvm: Kvm) -> None:
    """Many callers on a daemon that freezes until its keepalive runs out: libvirt crashes a process for less.

    Two threads that wait on one connection at that moment are a segmentation fault in libvirt 9.0. Here every caller
    gets an error, the process lives on, and when the daemon is back so is the hypervisor.
    """
    daemon, (_, two) = kvm
    await asyncio.to_thread(start, daemon, two)
    async with serve_pool(hypervisor_uri=daemon.uri, hypervisor_name="kvm", max_size=8) as served:
        await served.vms.GetVm(GET_TWO)
        with frozen(daemon.pid):
            calls = [served.vms.GetVm(GET_TWO, timeout=60) for _ in range(40)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            codes = {outcome.code() for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)}
            assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
            assert len(codes) >= 1
            await until_health(served, "DOWN", 30)
            # Now nobody waits any more
            started = asyncio.get_running_loop().time()
            refused = await failure(served.vms.GetVm(GET_TWO, timeout=30))
            assert refused.code is grpc.StatusCode.UNAVAILABLE
            assert asyncio.get_running_loop().time() - started < 5
        await until_health(served, "UP", 60)
        assert (await served.vms.GetVm(GET_TWO, timeout=20)).vm.name == "two"


@pytest.mark.timeout(150)
async def test_p6_worker_exhaustion_health(kvm: Kvm) -> None:
    """Twenty calls of others hang on one VM: the daemon answers, and can do no work. That is told, and ends."""
    daemon, (one, two) = kvm
    await asyncio.to_thread(start, daemon, one, two)
    async with serve_pool(hypervisor_uri=daemon.uri, hypervisor_name="kvm") as served:
        await served.vms.GetVm(GET_TWO)
        others = [libvirt.open(daemon.uri) for _ in range(22)]
        with frozen(one.pid):
            threads = [threading.Thread(target=_suspend, args=(other,)) for other in others]
            for thread in threads:
                thread.start()
            await until_health(served, "DEGRADED", 30)
            refused = await failure(served.vms.GetVm(GET_TWO, timeout=30))
            assert refused.reason == "HYPERVISOR_DEGRADED"
            assert refused.retry_after
        for thread in threads:
            await asyncio.to_thread(thread.join)
        await until_health(served, "UP", 60)
        await served.vms.GetVm(GET_TWO, timeout=20)
        for other in others:
            other.close()


def _suspend(connection: libvirt.virConnect) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        connection.lookupByName("one").suspend()


@pytest.mark.timeout(120)
async def test_p6_a_daemon_that_restarts_under_load(daemon: Libvirtd) -> None:
    """Stale connections are thrown away, nobody hangs, and those who come back do not come all at once."""
    async with serve_pool(hypervisor_uri=daemon.test_uri, hypervisor_name="kvm", max_size=8) as served:
        get = vm_inspection_pb2.GetVmRequest(vm_id="kvm/test")
        outcomes: list[str] = []
        stop = False

        async def caller() -> None:
            while not stop:
                try:
                    await served.vms.GetVm(get, timeout=15)
                    outcomes.append("OK")
                except grpc.aio.AioRpcError as error:
                    outcomes.append(error.code().name)
                    await asyncio.sleep(0.05)

        callers = [asyncio.create_task(caller()) for _ in range(16)]
        for _ in range(3):
            await asyncio.sleep(1)
            await asyncio.to_thread(daemon.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(daemon.start)
            await until_health(served, "UP", 40)
            await asyncio.sleep(1)
        before = len(outcomes)
        await asyncio.sleep(1)
        stop = True
        await asyncio.gather(*callers)
        assert set(outcomes) <= {"OK", "UNAVAILABLE"}
        assert set(outcomes[before:]) == {"OK"}
        (stats,) = (await served.pool.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest())).pools
        assert stats.leased == stats.reserved == stats.waiting == 0
        assert stats.closed["broken"] >= 3
