"""VmService on real QEMU guests: what the test driver only pretends."""

import asyncio
import struct
from typing import Any

import grpc
import libvirt
import pytest
from support.guests import Guest
from support.libvirtd import Libvirtd
from support.pool_server import Served, failure, result, serve_pool

from virtlease.pool.v1 import lease_pb2, vm_inspection_pb2, vm_lifecycle_pb2, vm_pb2, vm_watch_pb2
from virtlease.pool.v1 import vm_snapshot_pb2 as snapshots
from virtlease_pool.driver import LibvirtDriver
from virtlease_pool.model import HypervisorConfig

Kvm = tuple[Libvirtd, list[Guest]]


async def start(served: Served, guest: Guest) -> Any:
    answer = await served.vms.StartVm(vm_lifecycle_pb2.StartVmRequest(vm_id=f"kvm/{guest.name}"))
    await asyncio.to_thread(guest.ask, "ping hello", "pong hello")
    return answer.vm


@pytest.mark.timeout(120)
async def test_a_guest_is_started_measured_pictured_and_suspended(kvm: Kvm) -> None:
    daemon, (one, _) = kvm
    async with serve_pool(hypervisor_uri=daemon.uri, hypervisor_name="kvm") as served:
        vm = await start(served, one)
        assert (vm.state, vm.vcpus) == (vm_pb2.VM_STATE_RUNNING, 1)
        stats = vm_inspection_pb2.GetVmStatsRequest(vm_id="kvm/one")
        await served.vms.GetVmStats(stats)
        await asyncio.sleep(1)
        measured = await served.vms.GetVmStats(stats)
        assert measured.interval.ToMilliseconds() >= 900
        assert 0 <= measured.cpu.busy_cpus <= 1
        assert measured.memory.resident_bytes > 10 * 1024**2
        assert [disk.target for disk in measured.disks] == ["vda"]
        shot = await served.vms.GetVmScreenshot(vm_inspection_pb2.GetVmScreenshotRequest(vm_id="kvm/one"))
        assert shot.image.startswith(b"\x89PNG")
        assert struct.unpack(">II", shot.image[16:24]) == (shot.width, shot.height)
        assert shot.width >= 640
        assert shot.height >= 400
        xml = (await served.vms.GetVmXml(vm_inspection_pb2.GetVmXmlRequest(vm_id="kvm/one"))).xml
        assert "<domain" in xml
        await served.vms.SuspendVm(vm_lifecycle_pb2.SuspendVmRequest(vm_id="kvm/one"))
        again = await failure(served.vms.SuspendVm(vm_lifecycle_pb2.SuspendVmRequest(vm_id="kvm/one")))
        assert again.reason == "ALREADY_IN_STATE"
        await served.vms.ResumeVm(vm_lifecycle_pb2.ResumeVmRequest(vm_id="kvm/one"))
        await asyncio.to_thread(one.ask, "ping again", "pong again")


@pytest.mark.timeout(120)
async def test_a_snapshot_brings_the_memory_back(kvm: Kvm) -> None:
    daemon, (one, _) = kvm
    async with serve_pool(hypervisor_uri=daemon.uri, hypervisor_name="kvm") as served:
        await start(served, one)
        await asyncio.to_thread(one.ask, "remember blue", "ok")
        create = snapshots.CreateSnapshotRequest(vm_id="kvm/one", name="blue")
        made = (await result(served.vms.CreateSnapshot(create))).result.snapshot
        assert (made.has_memory, made.current, made.state) == (True, True, vm_pb2.VM_STATE_RUNNING)
        await asyncio.to_thread(one.ask, "remember red", "ok")
        await asyncio.to_thread(one.ask, "recall", "it is red")
        revert = snapshots.RevertSnapshotRequest(vm_id="kvm/one", snapshot="blue")
        assert (await result(served.vms.RevertSnapshot(revert))).result.vm.state == vm_pb2.VM_STATE_RUNNING
        await asyncio.to_thread(one.ask, "recall", "it is blue")
        delete = snapshots.DeleteSnapshotRequest(vm_id="kvm/one", snapshot="blue")
        assert list((await result(served.vms.DeleteSnapshot(delete))).result.deleted) == ["blue"]


@pytest.mark.timeout(120)
async def test_a_watcher_misses_nothing_over_a_restart_of_the_daemon(kvm: Kvm) -> None:
    """What happened without a connection is told afterwards, and callbacks work again."""
    daemon, (one, two) = kvm
    async with serve_pool(hypervisor_uri=daemon.uri, hypervisor_name="kvm") as served:
        await start(served, one)
        stream = served.vms.WatchVms(vm_watch_pb2.WatchVmsRequest(), timeout=100)
        events: list[Any] = []

        async def read() -> None:
            async for response in stream:
                events.extend(response.events)

        reader = asyncio.create_task(read())
        try:
            await asyncio.sleep(0.5)
            await asyncio.to_thread(daemon.kill)
            await asyncio.to_thread(daemon.start)
            # Behind the back of the service, while it has no connection yet
            raw = await asyncio.to_thread(libvirt.open, daemon.uri)
            await asyncio.to_thread(lambda: raw.lookupByName("one").suspend())
            await asyncio.to_thread(lambda: raw.lookupByName("two").undefine())
            raw.close()

            def told(kind: str, name: str) -> list[Any]:
                number = vm_watch_pb2.VmEventType.Value(f"VM_EVENT_TYPE_{kind}")
                return [event for event in events if event.type == number and event.vm.name == name]

            await _until(lambda: told("STATE", "one") or told("SUSPENDED", "one"), 40)
            await _until(lambda: told("GONE", "two") or told("UNDEFINED", "two"), 40)
            seen = (told("STATE", "one") + told("SUSPENDED", "one"))[-1]
            assert seen.vm.state == vm_pb2.VM_STATE_PAUSED
            # And what happens now is told as it happens
            del events[:]
            await _until(lambda: served_is_up(served), 30)
            await served.vms.ResumeVm(vm_lifecycle_pb2.ResumeVmRequest(vm_id="kvm/one"))
            await _until(lambda: told("RESUMED", "one"), 10)
        finally:
            stream.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        assert two.name == "two"


async def served_is_up(served: Served) -> bool:
    try:
        await served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id="kvm/one"))
    except grpc.aio.AioRpcError:
        return False
    return True


async def _until(condition: Any, seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        holds = condition()
        if await holds if asyncio.iscoroutine(holds) else holds:
            return
        assert asyncio.get_running_loop().time() < deadline, "it did not come to that"
        await asyncio.sleep(0.1)


@pytest.mark.timeout(120)
async def test_a_connection_that_carries_an_autodestroy_guest_is_not_reused(kvm: Kvm) -> None:
    """Closing it ends the guest, which is what its user asked for; lending it on would end it at some other moment."""
    daemon, _ = kvm
    config = HypervisorConfig("kvm", daemon.uri)
    connection = await LibvirtDriver().open(config)

    def begin(handle: libvirt.virConnect) -> None:
        handle.lookupByName("two").createWithFlags(libvirt.VIR_DOMAIN_START_AUTODESTROY)

    await connection.run(begin)
    connection.taint()
    assert connection.fault == "tainted"
    await connection.close()
    other = await LibvirtDriver().open(config)
    assert not await other.run(lambda handle: handle.lookupByName("two").isActive())
    await other.close()


@pytest.mark.timeout(120)
async def test_no_reference_to_a_connection_is_left(kvm: Kvm, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the calls came to, closing their connection closes it: the daemon counts the sockets."""
    daemon, (one, _) = kvm
    async with serve_pool(hypervisor_uri=daemon.uri, hypervisor_name="kvm", max_usage=1) as served:
        await start(served, one)
        for number in range(10):
            shot = vm_inspection_pb2.GetVmScreenshotRequest(vm_id="kvm/one")
            await served.vms.GetVmScreenshot(shot)
            await served.vms.ListSnapshots(snapshots.ListSnapshotsRequest(vm_id="kvm/one"))
            await failure(served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id=f"kvm/none-{number}")))
            lease = (await served.pool.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="kvm"))).lease
            await served.vms.GetVmStats(vm_inspection_pb2.GetVmStatsRequest(vm_id="kvm/one", lease_id=lease.lease_id))
            await served.pool.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id))
        await _until(lambda: daemon.clients() == 1, 10)  # the control connection
    assert "leaked" not in caplog.text
