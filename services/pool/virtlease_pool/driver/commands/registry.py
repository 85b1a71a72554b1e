"""What commands act on, and where they are found by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import libvirt
from google.protobuf.message import Message

from virtlease_pool.driver.commands import states
from virtlease_pool.errors import StateMismatch, VmNotFound
from virtlease_pool.model import VmRef


@dataclass(frozen=True, slots=True)
class Host:
    """A hypervisor under the name by which it is configured."""

    name: str
    connection: libvirt.virConnect

    def vm(self, ref: VmRef) -> "Vm":
        """Finds a VM by UUID or by name. Raises VmNotFound. What it finds is bound to the UUID."""
        finders = [self.connection.lookupByName]
        if ref.is_uuid:
            finders.insert(0, self.connection.lookupByUUIDString)
        for find in finders:
            try:
                return Vm(self, find(ref.name))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
        raise VmNotFound(str(ref))


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM on its host."""

    host: Host
    domain: libvirt.virDomain

    @property
    def vm_id(self) -> str:
        return f"{self.host.name}/{self.domain.name()}"

    def state(self) -> states.State:
        """Its state now."""
        return states.from_libvirt(self.domain.state()[0])

    def check_state(self, expected: states.State) -> None:
        """Raises StateMismatch unless it is in this state."""
        found = self.state()
        if found != expected:
            raise StateMismatch(self.vm_id, states.name(found), states.name(expected))


@dataclass(frozen=True, slots=True)
class Command:
    """A function that carries out one RPC: on a VM, or on a host."""

    name: str
    acts_on: type[Host] | type[Vm]
    function: Callable[[Any, Any], Message]


COMMANDS: dict[str, Command] = {}

F = TypeVar("F", bound=Callable[..., Message])


def on_vm(function: F) -> F:
    """Registers a command that acts on a VM."""
    COMMANDS[function.__name__] = Command(function.__name__, Vm, function)
    return function


def on_host(function: F) -> F:
    """Registers a command that acts on a host."""
    COMMANDS[function.__name__] = Command(function.__name__, Host, function)
    return function
