"""Snapshots of VMs: a tree, of which libvirt knows the parents."""

from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import libvirt

from virtlease.pool.v1 import vm_pb2
from virtlease.pool.v1 import vm_snapshot_pb2 as calls
from virtlease_pool.driver.commands.inspection import describe
from virtlease_pool.driver.commands.registry import Vm, on_vm
from virtlease_pool.driver.commands.states import State
from virtlease_pool.errors import SnapshotExists, SnapshotNotFound

_STATES = {
    "running": vm_pb2.VM_STATE_RUNNING,
    "blocked": vm_pb2.VM_STATE_BLOCKED,
    "paused": vm_pb2.VM_STATE_PAUSED,
    "shutdown": vm_pb2.VM_STATE_SHUTTING_DOWN,
    "shutoff": vm_pb2.VM_STATE_SHUT_OFF,
    "crashed": vm_pb2.VM_STATE_CRASHED,
    "pmsuspended": vm_pb2.VM_STATE_PM_SUSPENDED,
}


@on_vm
def list_snapshots(vm: Vm, request: calls.ListSnapshotsRequest) -> calls.ListSnapshotsResponse:
    found = [_describe(snapshot) for snapshot in vm.domain.listAllSnapshots()]
    return calls.ListSnapshotsResponse(snapshots=in_tree_order(found))


@on_vm
def create_snapshot(vm: Vm, request: calls.CreateSnapshotRequest) -> calls.CreateSnapshotResult:
    name = request.name or datetime.now(UTC).strftime("%Y-%m-%d %H.%M.%S.%f")
    if name in _names(vm):
        raise SnapshotExists(vm.vm_id, name)
    description = f"<description>{escape(request.description)}</description>" if request.description else ""
    xml = f"<domainsnapshot><name>{escape(name)}</name>{description}</domainsnapshot>"
    flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY if request.disk_only else 0
    return calls.CreateSnapshotResult(snapshot=_describe(vm.domain.snapshotCreateXML(xml, flags)))


@on_vm
def revert_snapshot(vm: Vm, request: calls.RevertSnapshotRequest) -> calls.RevertSnapshotResult:
    snapshot = find_snapshot(vm, request.snapshot)
    vm.domain.revertToSnapshot(snapshot, libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING if request.running else 0)
    return calls.RevertSnapshotResult(vm=describe(vm))


@on_vm
def delete_snapshot(vm: Vm, request: calls.DeleteSnapshotRequest) -> calls.DeleteSnapshotResult:
    snapshot = find_snapshot(vm, request.snapshot)
    before = _names(vm)
    snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN if request.with_children else 0)
    return calls.DeleteSnapshotResult(deleted=sorted(before - _names(vm)))


def in_tree_order(snapshots: list[calls.Snapshot]) -> list[calls.Snapshot]:
    """Each after the one it was made upon, brothers by age."""
    children: dict[str, list[calls.Snapshot]] = {}
    names = {snapshot.name for snapshot in snapshots}
    for snapshot in sorted(snapshots, key=lambda each: (each.create_time.ToNanoseconds(), each.name)):
        # One whose parent was deleted meanwhile is a first one.
        children.setdefault(snapshot.parent if snapshot.parent in names else "", []).append(snapshot)
    ordered: list[calls.Snapshot] = []
    rest = children.get("", [])[::-1]
    while rest:
        ordered.append(rest.pop())
        rest.extend(children.get(ordered[-1].name, [])[::-1])
    return ordered


def _names(vm: Vm) -> set[str]:
    return set(vm.domain.snapshotListNames())


def find_snapshot(vm: Vm, name: str) -> libvirt.virDomainSnapshot:
    """A snapshot of a VM. Raises SnapshotNotFound."""
    try:
        return vm.domain.snapshotLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            raise SnapshotNotFound(vm.vm_id, name) from None
        raise


def _describe(snapshot: libvirt.virDomainSnapshot) -> calls.Snapshot:
    root = ElementTree.fromstring(snapshot.getXMLDesc())
    memory = root.find("memory")
    message = calls.Snapshot(
        name=root.findtext("name", ""),
        parent=root.findtext("parent/name", ""),
        description=root.findtext("description", ""),
        state=_state(root.findtext("state", "")),
        has_memory=memory is not None and memory.get("snapshot") not in (None, "no"),
        current=bool(snapshot.isCurrent()),
    )
    message.create_time.FromSeconds(int(root.findtext("creationTime", "0")))
    return message


def _state(text: str) -> State:
    return _STATES.get(text, vm_pb2.VM_STATE_UNSPECIFIED)
