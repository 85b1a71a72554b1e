"""Commands that start and stop VMs.

Which states a command acts on is a table, since drivers answer a wrong state in different ways: QEMU with an error of
its own, the test driver with an internal one.
"""

from dataclasses import dataclass

import libvirt

from virtlease.pool.v1 import vm_lifecycle_pb2 as calls
from virtlease.pool.v1 import vm_pb2
from virtlease_pool.driver.commands import states
from virtlease_pool.driver.commands.inspection import describe
from virtlease_pool.driver.commands.registry import Vm, on_vm
from virtlease_pool.driver.commands.states import State
from virtlease_pool.errors import AlreadyInState, WrongState

RUNNING = vm_pb2.VM_STATE_RUNNING
BLOCKED = vm_pb2.VM_STATE_BLOCKED
PAUSED = vm_pb2.VM_STATE_PAUSED
SHUTTING_DOWN = vm_pb2.VM_STATE_SHUTTING_DOWN
SHUT_OFF = vm_pb2.VM_STATE_SHUT_OFF
CRASHED = vm_pb2.VM_STATE_CRASHED
PM_SUSPENDED = vm_pb2.VM_STATE_PM_SUSPENDED


@dataclass(frozen=True, slots=True)
class Transition:
    """The states that a command acts on, and those in which there is nothing left for it to do."""

    acts_on: tuple[State, ...]
    done_in: tuple[State, ...] = ()

    def check(self, vm: Vm) -> None:
        """Raises AlreadyInState or WrongState unless the command can act."""
        state = vm.state()
        if state in self.done_in:
            raise AlreadyInState(vm.vm_id, states.name(state))
        if state not in self.acts_on:
            raise WrongState(vm.vm_id, states.name(state), " or ".join(map(states.name, self.acts_on)))


START = Transition(acts_on=(SHUT_OFF, CRASHED), done_in=(RUNNING, BLOCKED, PAUSED))
SHUTDOWN = Transition(acts_on=(RUNNING, BLOCKED), done_in=(SHUT_OFF, SHUTTING_DOWN))
REBOOT = Transition(acts_on=(RUNNING, BLOCKED))
SUSPEND = Transition(acts_on=(RUNNING, BLOCKED), done_in=(PAUSED,))
RESUME = Transition(acts_on=(PAUSED, PM_SUSPENDED), done_in=(RUNNING, BLOCKED))
FORCE_OFF = Transition(acts_on=(RUNNING, BLOCKED, PAUSED, SHUTTING_DOWN, CRASHED, PM_SUSPENDED), done_in=(SHUT_OFF,))


@on_vm
def start_vm(vm: Vm, request: calls.StartVmRequest) -> calls.StartVmResponse:
    START.check(vm)
    vm.domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if request.paused else 0)
    return calls.StartVmResponse(vm=describe(vm))


@on_vm
def shutdown_vm(vm: Vm, request: calls.ShutdownVmRequest) -> calls.ShutdownVmResponse:
    SHUTDOWN.check(vm)
    vm.domain.shutdown()
    return calls.ShutdownVmResponse(vm=describe(vm))


@on_vm
def reboot_vm(vm: Vm, request: calls.RebootVmRequest) -> calls.RebootVmResponse:
    REBOOT.check(vm)
    vm.domain.reboot()
    return calls.RebootVmResponse(vm=describe(vm))


@on_vm
def suspend_vm(vm: Vm, request: calls.SuspendVmRequest) -> calls.SuspendVmResponse:
    SUSPEND.check(vm)
    vm.domain.suspend()
    return calls.SuspendVmResponse(vm=describe(vm))


@on_vm
def resume_vm(vm: Vm, request: calls.ResumeVmRequest) -> calls.ResumeVmResponse:
    RESUME.check(vm)
    if vm.state() == PM_SUSPENDED:
        vm.domain.pMWakeup()
    else:
        vm.domain.resume()
    return calls.ResumeVmResponse(vm=describe(vm))


@on_vm
def force_off_vm(vm: Vm, request: calls.ForceOffVmRequest) -> calls.ForceOffVmResponse:
    FORCE_OFF.check(vm)
    vm.domain.destroy()
    return calls.ForceOffVmResponse(vm=describe(vm))
