"""VmService over gRPC, on libvirt's test driver: definitions, statistics, screens, snapshots, limits."""

import asyncio
import struct
import threading
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.pool_server import Served, failure, result, serve_pool

from virtlease.pool.v1 import hypervisor_pb2, lease_pb2, vm_inspection_pb2, vm_lifecycle_pb2, vm_pb2
from virtlease.pool.v1 import vm_snapshot_pb2 as snapshots
from virtlease_pool.driver.commands import COMMANDS, Command, Vm
from virtlease_pool.driver.commands.definition import without_secrets
from virtlease_pool.driver.commands.screenshot import to_png
from virtlease_pool.driver.commands.snapshots import in_tree_order
from virtlease_pool.driver.commands.statistics import Sample, add_rates

VM = "local/test"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve_pool() as served:
        yield served


async def test_the_definition_is_returned(served: Served) -> None:
    answer = await served.vms.GetVmXml(vm_inspection_pb2.GetVmXmlRequest(vm_id=VM))
    assert answer.xml.startswith("<domain")
    assert "<name>test</name>" in answer.xml


def test_nothing_secret_is_left_in_a_definition() -> None:
    xml = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
      <name>v</name>
      <sysinfo type='fwcfg'><entry name='opt/token'>secret-1</entry></sysinfo>
      <launchSecurity type='sev'><session>secret-2</session></launchSecurity>
      <devices>
        <graphics type='vnc' passwd='secret-3' passwdValidTo='2030-01-01T00:00:00'/>
        <disk><source protocol='https'><cookies><cookie name='a'>secret-4</cookie></cookies></source></disk>
      </devices>
      <qemu:commandline>
        <qemu:arg value='-object=secret,data=secret-5'/><qemu:env name='X' value='secret-6'/>
      </qemu:commandline>
    </domain>"""
    clean = without_secrets(xml)
    assert "secret-" not in clean
    assert clean.count("(secret)") == 6
    assert "<name>v</name>" in clean


async def test_statistics_come_with_rates_from_the_second_time_on(served: Served) -> None:
    request = vm_inspection_pb2.GetVmStatsRequest(vm_id="local/test")
    first = await served.vms.GetVmStats(request)
    second = await served.vms.GetVmStats(request)
    assert (second.vm_id, second.cpu.vcpus) == (VM, 2)
    assert second.cpu.time.ToNanoseconds() >= first.cpu.time.ToNanoseconds() > 0
    assert second.HasField("interval")
    assert 0 <= second.cpu.busy_cpus <= 2
    assert [disk.target for disk in second.disks] == ["vda"]
    assert [interface.target for interface in second.interfaces] == ["testnet0"]
    assert second.disks[0].read_bytes >= first.disks[0].read_bytes > 0
    assert second.interfaces[0].HasField("received_bytes_per_second")
    assert second.memory.current_bytes == 2 * 1024**3


def test_rates_are_differences_over_time_and_none_after_a_restart() -> None:
    def answer() -> vm_inspection_pb2.GetVmStatsResponse:
        response = vm_inspection_pb2.GetVmStatsResponse()
        response.cpu.vcpus = 2
        response.disks.add(target="vda")
        return response

    before = Sample(100.0, {"cpu.time": 1_000_000_000, "block.vda.rd.bytes": 1000})
    after = Sample(104.0, {"cpu.time": 3_000_000_000, "block.vda.rd.bytes": 5000})
    response = answer()
    add_rates(response, after, before)
    assert response.interval.ToMilliseconds() == 4000
    assert response.cpu.busy_cpus == pytest.approx(0.5)
    assert response.disks[0].read_bytes_per_second == pytest.approx(1000)
    assert not response.disks[0].HasField("written_bytes_per_second")
    restarted = answer()
    add_rates(restarted, before, after)
    assert not restarted.HasField("interval")
    assert not restarted.cpu.HasField("busy_cpus")


async def test_a_vm_that_is_off_has_statistics_too(served: Served) -> None:
    await served.vms.ForceOffVm(vm_lifecycle_pb2.ForceOffVmRequest(vm_id=VM))
    answer = await served.vms.GetVmStats(vm_inspection_pb2.GetVmStatsRequest(vm_id=VM))
    assert answer.cpu.vcpus == 2
    assert not answer.disks


async def test_a_screen_is_a_png_of_the_size_that_is_told(served: Served) -> None:
    answer = await served.vms.GetVmScreenshot(vm_inspection_pb2.GetVmScreenshotRequest(vm_id=VM))
    assert answer.mime_type == "image/png"
    assert answer.image.startswith(b"\x89PNG")
    assert struct.unpack(">II", answer.image[16:24]) == (answer.width, answer.height)
    # The stream it came on was closed: the connection serves the next call
    await served.vms.GetVmScreenshot(vm_inspection_pb2.GetVmScreenshotRequest(vm_id=VM))
    fault = await failure(served.vms.GetVmScreenshot(vm_inspection_pb2.GetVmScreenshotRequest(vm_id=VM, screen=99)))
    assert (fault.code, fault.faults[0][0]) == (grpc.StatusCode.INVALID_ARGUMENT, "screen")


def test_a_ppm_becomes_a_png() -> None:
    pixels = bytes(range(2 * 3 * 3))
    image = to_png(b"P6\n2 3\n255\n" + pixels)
    assert struct.unpack(">II", image[16:24]) == (2, 3)
    data = image[image.index(b"IDAT") + 4 : image.index(b"IEND") - 8]
    lines = zlib.decompress(data)
    assert b"".join(lines[row * 7 + 1 : row * 7 + 7] for row in range(3)) == pixels


async def test_snapshots_are_made_listed_gone_back_to_and_deleted(served: Served) -> None:
    async def make(name: str, **more: object) -> snapshots.Snapshot:
        request = snapshots.CreateSnapshotRequest(vm_id=VM, name=name, **more)
        answer = await result(served.vms.CreateSnapshot(request))
        return answer.result.snapshot

    first = await make("first", description="before <the> change")
    assert (first.name, first.parent, first.description) == ("first", "", "before <the> change")
    assert (first.state, first.has_memory, first.current) == (vm_pb2.VM_STATE_RUNNING, True, True)
    await make("second")
    await served.vms.SuspendVm(vm_lifecycle_pb2.SuspendVmRequest(vm_id=VM))
    revert = snapshots.RevertSnapshotRequest(vm_id=VM, snapshot="first")
    reverted = await result(served.vms.RevertSnapshot(revert))
    assert reverted.result.vm.state == vm_pb2.VM_STATE_RUNNING
    await make("third")
    listed = (await served.vms.ListSnapshots(snapshots.ListSnapshotsRequest(vm_id=VM))).snapshots
    parents = {each.name: each.parent for each in listed}
    assert parents == {"first": "", "second": "first", "third": "first"}
    assert [each.name for each in listed if each.current] == ["third"]
    delete = snapshots.DeleteSnapshotRequest(vm_id=VM, snapshot="first", with_children=True)
    deleted = await result(served.vms.DeleteSnapshot(delete))
    assert list(deleted.result.deleted) == ["first", "second", "third"]
    assert not (await served.vms.ListSnapshots(snapshots.ListSnapshotsRequest(vm_id=VM))).snapshots


async def test_progress_comes_before_the_result(served: Served) -> None:
    request = snapshots.CreateSnapshotRequest(vm_id=VM)
    messages = [message.WhichOneof("event") async for message in served.vms.CreateSnapshot(request)]
    assert messages[0] == "progress"
    assert messages[-1] == "result"


async def test_a_retried_snapshot_is_made_once(served: Served) -> None:
    request = snapshots.CreateSnapshotRequest(vm_id=VM, name="once", request_id="r1")
    first = await result(served.vms.CreateSnapshot(request))
    again = await result(served.vms.CreateSnapshot(request))
    assert first == again
    taken = await failure(result(served.vms.CreateSnapshot(snapshots.CreateSnapshotRequest(vm_id=VM, name="once"))))
    assert (taken.code, taken.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SNAPSHOT_EXISTS")


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (snapshots.RevertSnapshotRequest(vm_id=VM, snapshot="none"), "NOT_FOUND", "SNAPSHOT_NOT_FOUND"),
        (snapshots.RevertSnapshotRequest(vm_id=VM), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (snapshots.DeleteSnapshotRequest(vm_id=VM, snapshot="none"), "NOT_FOUND", "SNAPSHOT_NOT_FOUND"),
        (snapshots.CreateSnapshotRequest(vm_id=VM, name="a/b"), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (snapshots.CreateSnapshotRequest(vm_id=VM, description="x" * 5000), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (snapshots.CreateSnapshotRequest(vm_id="x" * 600), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (snapshots.CreateSnapshotRequest(vm_id=VM, disk_only=True), "UNIMPLEMENTED", "UNSUPPORTED_BY_HYPERVISOR"),
        (
            snapshots.CreateSnapshotRequest(vm_id=VM, if_state=vm_pb2.VM_STATE_PAUSED),
            "FAILED_PRECONDITION",
            "STATE_MISMATCH",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_what_cannot_be_done_is_said(served: Served, request_: object, code: str, reason: str) -> None:
    rpc = getattr(served.vms, type(request_).__name__.removesuffix("Request"))
    fault = await failure(result(rpc(request_)))
    assert (fault.code.name, fault.reason) == (code, reason)


def test_a_tree_of_snapshots_is_told_parents_first() -> None:
    def snapshot(name: str, parent: str, at: int) -> snapshots.Snapshot:
        made = snapshots.Snapshot(name=name, parent=parent)
        made.create_time.FromSeconds(at)
        return made

    shuffled = [snapshot("c", "b", 3), snapshot("a", "", 5), snapshot("b", "a", 9), snapshot("d", "a", 1)]
    shuffled.append(snapshot("orphan", "deleted", 7))
    assert [each.name for each in in_tree_order(shuffled)] == ["a", "d", "b", "c", "orphan"]


class Gate:
    """A command that does not come back until it is let, and how many of it run at once."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, vm: Vm, _request: object) -> vm_lifecycle_pb2.RebootVmResponse:
        with self._lock:
            self.running.update({vm.vm_id: 1, "all": 1})
            self.most |= self.running
        assert self.opened.wait(20)
        with self._lock:
            self.running.subtract({vm.vm_id: 1, "all": 1})
        return vm_lifecycle_pb2.RebootVmResponse()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """RebootVm becomes a call that hangs."""
    gate = Gate()
    monkeypatch.setitem(COMMANDS, "reboot_vm", Command("reboot_vm", Vm, gate))
    yield gate
    gate.opened.set()


def three_vms(folder: Path) -> str:
    """The URI of a host of the test driver with the VMs a, b and c."""
    domains = "".join(
        f"<domain type='test'><name>{name}</name><uuid>00000000-0000-4000-8000-00000000000{name}</uuid>"
        "<memory>1024</memory><os><type>hvm</type></os></domain>"
        for name in "abc"
    )
    path = folder / "node.xml"
    path.write_text(f"<node>{domains}</node>")
    return f"test://{path}"


def reboot(served: Served, name: str, timeout: float = 30) -> Any:
    return served.vms.RebootVm(vm_lifecycle_pb2.RebootVmRequest(vm_id=f"local/{name}"), timeout=timeout)


async def test_p4_calls_that_hang_on_one_vm_leave_the_connections_to_the_others(gate: Gate, tmp_path: Path) -> None:
    async with serve_pool(hypervisor_uri=three_vms(tmp_path), max_size=4) as served:
        hung = [reboot(served, "a") for _ in range(10)]
        await asyncio.sleep(0.5)
        assert gate.running["local/a"] == 2
        # Eight more wait for them; another VM is read and written as ever
        get = vm_inspection_pb2.GetVmRequest(vm_id="local/b")
        assert (await served.vms.GetVm(get, timeout=5)).vm.name == "b"
        other = reboot(served, "b")
        await asyncio.sleep(0.3)
        assert gate.running["local/b"] == 1
        fault = await failure(reboot(served, "a", timeout=0.5))
        assert fault.code is grpc.StatusCode.DEADLINE_EXCEEDED
        (stats,) = (await served.pool.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest())).pools
        assert (stats.in_flight, stats.leased) == (3, 3)
        gate.opened.set()
        await asyncio.gather(*hung, other)
        assert gate.most["local/a"] == 2
        (stats,) = (await served.pool.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest())).pools
        assert (stats.in_flight, stats.leased) == (0, 0)


async def test_p4_calls_on_a_hypervisor_are_capped(gate: Gate, tmp_path: Path) -> None:
    listing = tmp_path / "hypervisors.yaml"
    uri = three_vms(tmp_path)
    listing.write_text(f"hypervisors: [{{name: local, uri: '{uri}', max_size: 6, max_in_flight: 3}}]")
    async with serve_pool(hypervisors_file=listing) as served:
        calls = [reboot(served, name) for name in "aabbcc"]
        await asyncio.sleep(0.5)
        assert gate.running["all"] == 3
        gate.opened.set()
        await asyncio.gather(*calls)
        assert gate.most["all"] == 3


async def test_p4_a_call_whose_caller_has_gone_counts_until_it_returns(gate: Gate, tmp_path: Path) -> None:
    async with serve_pool(hypervisor_uri=three_vms(tmp_path), max_size=4) as served:
        gone = [reboot(served, "a") for _ in range(2)]
        await asyncio.sleep(0.5)
        for call in gone:
            call.cancel()
        await asyncio.sleep(0.2)
        waiting = reboot(served, "a")
        await asyncio.sleep(0.3)
        assert gate.running["local/a"] == 2
        gate.opened.set()
        await waiting
        assert gate.most["local/a"] == 2


async def test_calls_on_a_lease_keep_their_order_when_one_has_to_wait_for_its_vm(gate: Gate, tmp_path: Path) -> None:
    async with serve_pool(hypervisor_uri=three_vms(tmp_path), max_size=4) as served:
        hung = [reboot(served, "a") for _ in range(2)]
        lease_id = (await served.pool.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="local"))).lease.lease_id
        await asyncio.sleep(0.3)
        done: list[str] = []

        async def call(name: str) -> None:
            await served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id=f"local/{name}", lease_id=lease_id))
            done.append(name)

        tasks = []
        for name in "ab":
            tasks.append(asyncio.create_task(call(name)))
            await asyncio.sleep(0.2)
        assert done == []
        gate.opened.set()
        await asyncio.gather(*tasks, *hung)
        assert done == ["a", "b"]
