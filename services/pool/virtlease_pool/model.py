"""Hypervisors and VMs, as plain values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class HypervisorConfig:
    """A hypervisor as the operator describes it."""

    name: str
    uri: str
    max_size: int = 8
    max_in_flight: int = 8
    auth_file: Path | None = None
    pki_path: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def leads_where(self, other: "HypervisorConfig") -> bool:
        """Whether connections by the one are as good as by the other."""
        return (self.uri, self.auth_file, self.pki_path) == (other.uri, other.auth_file, other.pki_path)


class PoolEventType(Enum):
    """What happened in a pool; the names are the contract's."""

    LEASE_ACQUIRED = "LEASE_ACQUIRED"
    LEASE_RELEASED = "LEASE_RELEASED"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    LEASE_KILLED = "LEASE_KILLED"
    CONNECTION_OPENED = "CONNECTION_OPENED"
    CONNECTION_CLOSED = "CONNECTION_CLOSED"
    HEALTH_CHANGED = "HEALTH_CHANGED"
    MODE_CHANGED = "MODE_CHANGED"
    HYPERVISORS_RELOADED = "HYPERVISORS_RELOADED"


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """Something that happened in a pool; `at` is the wall clock in ms."""

    type: PoolEventType
    at: int
    hypervisor: str
    lease_ref: str = ""
    detail: str = ""


class Health(Enum):
    """Whether a hypervisor can be worked with."""

    UNKNOWN = "unknown"
    UP = "up"
    DEGRADED = "degraded"
    """It answers, but its workers are stuck."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a hypervisor says of itself when a connection to it is made."""

    driver: str
    hostname: str
    libvirt_version: str
    hypervisor_version: str


class VmEventType(Enum):
    """What happened to a VM or its hypervisor; the names are the contract's."""

    DEFINED = "DEFINED"
    UNDEFINED = "UNDEFINED"
    STARTED = "STARTED"
    SUSPENDED = "SUSPENDED"
    RESUMED = "RESUMED"
    STOPPED = "STOPPED"
    SHUTDOWN = "SHUTDOWN"
    PM_SUSPENDED = "PM_SUSPENDED"
    CRASHED = "CRASHED"
    REBOOTED = "REBOOTED"
    IO_ERROR = "IO_ERROR"
    WATCHDOG = "WATCHDOG"
    BLOCK_JOB = "BLOCK_JOB"
    JOB_COMPLETED = "JOB_COMPLETED"
    DEVICE_CHANGED = "DEVICE_CHANGED"
    AGENT_CHANGED = "AGENT_CHANGED"
    STATE = "STATE"
    GONE = "GONE"
    HYPERVISOR = "HYPERVISOR"


@dataclass(frozen=True, slots=True)
class VmSeen:
    """A VM as an event or a list shows it. The state is the contract's name of it, empty when it is not told."""

    name: str
    uuid: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class VmEvent:
    """Something that happened; `at` is the wall clock in ms."""

    type: VmEventType
    at: int
    hypervisor: str
    vm: VmSeen | None = None
    detail: str = ""
    health: Health | None = None


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a long operation has come: the share that is done, if it can be known, and in words."""

    fraction: float | None
    message: str


@dataclass(frozen=True, slots=True)
class VmRef:
    """A VM as a caller names it: its name or UUID on a hypervisor, which is empty in a bare name."""

    hypervisor: str
    name: str

    @classmethod
    def parse(cls, vm_id: str) -> "VmRef":
        """Reads `hypervisor/name`, `hypervisor/uuid` or a bare `name`."""
        hypervisor, slash, name = vm_id.partition("/")
        return cls(hypervisor, name) if slash else cls("", vm_id)

    @property
    def is_uuid(self) -> bool:
        """Whether the name has the form of a UUID; a VM may yet have such a name."""
        return _UUID.fullmatch(self.name) is not None

    def __str__(self) -> str:
        return f"{self.hypervisor}/{self.name}" if self.hypervisor else self.name
