"""States of VMs: libvirt's, the API's, and in words."""

from typing import TypeAlias

import libvirt

from virtlease.pool.v1 import vm_pb2
from virtlease.pool.v1.vm_pb2 import VmState

State: TypeAlias = "VmState.ValueType"

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: vm_pb2.VM_STATE_UNSPECIFIED,
    libvirt.VIR_DOMAIN_RUNNING: vm_pb2.VM_STATE_RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: vm_pb2.VM_STATE_BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED: vm_pb2.VM_STATE_PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: vm_pb2.VM_STATE_SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: vm_pb2.VM_STATE_SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: vm_pb2.VM_STATE_CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: vm_pb2.VM_STATE_PM_SUSPENDED,
}

# By libvirt's number of the reason, within each state.
_REASONS = {
    vm_pb2.VM_STATE_RUNNING: (
        "", "booted", "migrated", "restored", "from a snapshot", "resumed", "migration was cancelled",
        "save was cancelled", "woken up", "crashed", "post-copy migration", "post-copy migration failed",
    ),
    vm_pb2.VM_STATE_PAUSED: (
        "", "suspended by a user", "being migrated", "being saved", "being dumped", "input or output error", "watchdog",
        "from a snapshot", "shutting down", "snapshot being made", "crashed", "starting up", "post-copy migration",
        "post-copy migration failed", "a call failed",
    ),
    vm_pb2.VM_STATE_SHUTTING_DOWN: ("", "asked by a user"),
    vm_pb2.VM_STATE_SHUT_OFF: (
        "", "shut down", "cut off", "crashed", "migrated", "saved", "failed to start", "from a snapshot",
        "unknown to the daemon",
    ),
    vm_pb2.VM_STATE_CRASHED: ("", "panicked"),
}  # fmt: skip


def from_libvirt(number: int) -> State:
    """The state by libvirt's number."""
    return _STATES.get(number, vm_pb2.VM_STATE_UNSPECIFIED)


def reason(state: State, number: int) -> str:
    """Why a VM is in a state, in words; empty when that is not known."""
    reasons = _REASONS.get(state, ())
    return reasons[number] if 0 <= number < len(reasons) else ""


def name(state: State) -> str:
    """`SHUT_OFF` for VM_STATE_SHUT_OFF."""
    return VmState.Name(state).removeprefix("VM_STATE_")
