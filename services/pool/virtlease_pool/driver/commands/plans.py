"""What destructive commands would do and what would be lost, said without doing it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

import libvirt

from virtlease.pool.v1 import vm_lifecycle_pb2 as calls
from virtlease.pool.v1 import vm_pb2
from virtlease_chassis.errors import InvalidArgument
from virtlease_pool.driver.commands.inspection import describe
from virtlease_pool.driver.commands.lifecycle import FORCE_OFF
from virtlease_pool.driver.commands.registry import Vm, on_vm
from virtlease_pool.driver.commands.snapshots import find_snapshot


@dataclass(frozen=True, slots=True)
class Plan:
    """What one command would do. `basis` stands for what it was made from beside the VM's state."""

    summary: str
    losses: tuple[str, ...]
    basis: str = ""


Request = calls.PlanVmChangeRequest

_UNWRITTEN = "whatever the guest holds in memory and has not written to its disks"


def _force_off(vm: Vm, _request: Request) -> Plan:
    FORCE_OFF.check(vm)
    return Plan(f"{vm.vm_id} is cut off at once, as if its power cord were pulled.", (_UNWRITTEN,))


def _revert(vm: Vm, request: Request) -> Plan:
    made = _time_of(find_snapshot(vm, request.snapshot))
    summary = f"{vm.vm_id} goes back to what it was when the snapshot {request.snapshot!r} was made."
    lost = ("whatever the VM has written to its disks since", "whatever it holds in memory now")
    return Plan(summary, lost, made)


def _delete(vm: Vm, request: Request) -> Plan:
    snapshot = find_snapshot(vm, request.snapshot)
    made = _time_of(snapshot)
    upon = sorted(each.getName() for each in snapshot.listAllChildren()) if request.with_children else []
    summary = f"The snapshot {request.snapshot!r} of {vm.vm_id} is deleted. The VM itself stays as it is."
    if upon:
        summary = f"{summary} So are those made upon it: {', '.join(upon)}."
    return Plan(summary, ("the way back to it",), f"{made} {upon}")


def _time_of(snapshot: libvirt.virDomainSnapshot) -> str:
    """When it was made: another one of its name is another one."""
    return ElementTree.fromstring(snapshot.getXMLDesc()).findtext("creationTime", "")


PLANS: dict[str, Callable[[Vm, Request], Plan]] = {
    "force_off_vm": _force_off,
    "revert_snapshot": _revert,
    "delete_snapshot": _delete,
}


@on_vm
def plan_vm_change(vm: Vm, request: calls.PlanVmChangeRequest) -> calls.PlanVmChangeResponse:
    """Describes the VM, and what the command would do to it. Raises what the command itself would raise."""
    make = PLANS.get(request.command)
    if make is None:
        raise InvalidArgument("command", f"there are plans for {', '.join(PLANS)}")
    plan = make(vm, request)
    found = describe(vm)
    return calls.PlanVmChangeResponse(
        vm=found, state_digest=_digest(vm, found, request, plan), summary=plan.summary, losses=plan.losses
    )


def _digest(vm: Vm, found: vm_pb2.Vm, request: Request, plan: Plan) -> str:
    """Of which VM it is, its state, and which of its runs: libvirt numbers them, so that a reboot behind one's back,
    after which the state is the same, makes another digest."""
    parts = (found.uuid, found.state, found.state_reason, vm.domain.ID(), request.command, request.snapshot, plan.basis)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
