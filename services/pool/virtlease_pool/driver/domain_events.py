"""libvirt's events about VMs, in the words of the domain. Called in the event thread, where no call may be made."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import libvirt

from virtlease_pool.driver.commands import states
from virtlease_pool.model import VmEvent, VmEventType, VmSeen

Tell = Callable[[VmEvent], None]
_T = VmEventType

# By libvirt's number of a lifecycle event: what happened, and the state that the VM is in from then on.
_LIFECYCLE = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: (_T.DEFINED, ""),
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: (_T.UNDEFINED, ""),
    libvirt.VIR_DOMAIN_EVENT_STARTED: (_T.STARTED, "RUNNING"),
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: (_T.SUSPENDED, "PAUSED"),
    libvirt.VIR_DOMAIN_EVENT_RESUMED: (_T.RESUMED, "RUNNING"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED: (_T.STOPPED, "SHUT_OFF"),
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: (_T.SHUTDOWN, "SHUTTING_DOWN"),
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: (_T.PM_SUSPENDED, "PM_SUSPENDED"),
    libvirt.VIR_DOMAIN_EVENT_CRASHED: (_T.CRASHED, "CRASHED"),
}

# By libvirt's number of the detail.
_DETAILS: dict[VmEventType, tuple[str, ...]] = {
    _T.DEFINED: ("added", "changed", "renamed", "from a snapshot"),
    _T.UNDEFINED: ("removed", "renamed"),
    _T.STARTED: ("booted", "migrated", "restored", "from a snapshot", "woken up"),
    _T.SUSPENDED: (
        "by a user", "migrated", "input or output error", "watchdog", "restored", "from a snapshot", "a call failed",
        "post-copy migration", "post-copy migration failed",
    ),
    _T.RESUMED: ("by a user", "migrated", "from a snapshot", "post-copy migration", "post-copy migration failed"),
    _T.STOPPED: ("shut down", "cut off", "crashed", "migrated", "saved", "failed", "from a snapshot"),
    _T.SHUTDOWN: ("finished", "by the guest", "by a user"),
    _T.PM_SUSPENDED: ("to memory", "to disk"),
    _T.CRASHED: ("panicked", "crash loaded"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from, and who is told."""

    hypervisor: str
    tell: Tell

    def event(self, kind: VmEventType, domain: libvirt.virDomain, detail: str = "", state: str = "") -> None:
        vm = VmSeen(domain.name(), domain.UUIDString(), state)
        self.tell(VmEvent(kind, time.time_ns() // 1_000_000, self.hypervisor, vm, detail))


def _lifecycle(_c: Any, domain: libvirt.virDomain, event: int, detail: int, source: Source) -> None:
    kind, state = _LIFECYCLE.get(event, (None, ""))
    if kind is not None:
        details = _DETAILS[kind]
        source.event(kind, domain, details[detail] if 0 <= detail < len(details) else "", state)


def _reboot(_c: Any, domain: libvirt.virDomain, source: Source) -> None:
    source.event(_T.REBOOTED, domain)


def _io_error(
    _c: Any, domain: libvirt.virDomain, _path: str, alias: str, action: int, reason: str, source: Source
) -> None:
    what = ("reported", "the VM was suspended", "passed to the guest")
    source.event(_T.IO_ERROR, domain, f"{alias}: {reason or 'error'}, {what[action] if action < len(what) else ''}")


def _watchdog(_c: Any, domain: libvirt.virDomain, action: int, source: Source) -> None:
    names = ("none", "pause", "reset", "poweroff", "shutdown", "debug", "inject NMI")
    source.event(_T.WATCHDOG, domain, names[action] if action < len(names) else "")


def _block_job(_c: Any, domain: libvirt.virDomain, disk: str, _kind: int, status: int, source: Source) -> None:
    names = ("completed", "failed", "cancelled", "ready")
    source.event(_T.BLOCK_JOB, domain, f"{disk}: {names[status] if status < len(names) else 'changed'}")


def _job(_c: Any, domain: libvirt.virDomain, _stats: dict[str, Any], source: Source) -> None:
    source.event(_T.JOB_COMPLETED, domain)


def _device_added(_c: Any, domain: libvirt.virDomain, alias: str, source: Source) -> None:
    source.event(_T.DEVICE_CHANGED, domain, f"{alias} was added")


def _device_removed(_c: Any, domain: libvirt.virDomain, alias: str, source: Source) -> None:
    source.event(_T.DEVICE_CHANGED, domain, f"{alias} was removed")


def _agent(_c: Any, domain: libvirt.virDomain, state: int, _reason: int, source: Source) -> None:
    source.event(_T.AGENT_CHANGED, domain, "connected" if state == 1 else "disconnected")


_CALLBACKS = {
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: _lifecycle,
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: _reboot,
    libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: _io_error,
    libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG: _watchdog,
    libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2: _block_job,
    libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED: _job,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: _device_added,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: _device_removed,
    libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: _agent,
}


def register(handle: libvirt.virConnect, source: Source) -> list[int]:
    """Asks for all events that the driver has; returns what `deregister` takes."""
    numbers = []
    for event, callback in _CALLBACKS.items():
        try:
            numbers.append(handle.domainEventRegisterAny(None, event, callback, source))
        except libvirt.libvirtError as error:
            if error.get_error_code() not in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_UNSUPPORTED):
                raise
    return numbers


def seen(handle: libvirt.virConnect) -> list[VmSeen]:
    """All VMs with their states."""
    found = []
    for domain in handle.listAllDomains():
        try:
            state = states.name(states.from_libvirt(domain.state()[0]))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # it went away since it was listed
            raise
        found.append(VmSeen(domain.name(), domain.UUIDString(), state))
    return found
