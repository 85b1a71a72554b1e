"""What destructive commands would do and what would be lost, said without doing it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from virtlease.pool.v1 import vm_lifecycle_pb2 as calls
from virtlease.pool.v1 import vm_pb2
from virtlease_chassis.errors import InvalidArgument
from virtlease_pool.driver.commands.inspection import describe
from virtlease_pool.driver.commands.lifecycle import FORCE_OFF
from virtlease_pool.driver.commands.registry import Vm, on_vm


@dataclass(frozen=True, slots=True)
class Plan:
    """The words for one command. `check` raises what the command itself would raise as things are."""

    summary: str
    losses: tuple[str, ...]
    check: Callable[[Vm], None]


_UNWRITTEN = "whatever the guest holds in memory and has not written to its disks"

PLANS = {
    "force_off_vm": Plan("{vm} is cut off at once, as if its power cord were pulled.", (_UNWRITTEN,), FORCE_OFF.check),
}


@on_vm
def plan_vm_change(vm: Vm, request: calls.PlanVmChangeRequest) -> calls.PlanVmChangeResponse:
    """Describes the VM, and what the command would do to it."""
    plan = PLANS.get(request.command)
    if plan is None:
        raise InvalidArgument("command", f"there are plans for {', '.join(PLANS)}")
    plan.check(vm)
    found = describe(vm)
    return calls.PlanVmChangeResponse(
        vm=found,
        state_digest=_digest(vm, found, request),
        summary=plan.summary.format(vm=found.vm_id),
        losses=plan.losses,
    )


def _digest(vm: Vm, found: vm_pb2.Vm, request: calls.PlanVmChangeRequest) -> str:
    """Of which VM it is, its state, and which of its runs: libvirt numbers them, so that a reboot behind one's back,
    after which the state is the same, makes another digest."""
    parts = (found.uuid, found.state, found.state_reason, vm.domain.ID(), request.command, request.snapshot)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
