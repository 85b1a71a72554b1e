"""What can go wrong with hypervisors, leases and VMs."""

from virtlease_chassis.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)


class HypervisorNotFound(NotFound):
    """Raised for a hypervisor that is not configured."""

    reason = "HYPERVISOR_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no hypervisor {name!r}", resource_type="hypervisor", resource_name=name)


class HypervisorUnavailable(Unavailable):
    """Raised when a hypervisor cannot be reached, or the connection to it broke."""

    reason = "HYPERVISOR_UNAVAILABLE"

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(
            f"the hypervisor {name!r} cannot be reached: {cause}", metadata={"hypervisor": name}, retry_after=2
        )


class ConnectionBroke(HypervisorUnavailable):
    """Raised when the connection to a hypervisor broke under a call."""


class HypervisorDegraded(Unavailable):
    """Raised when a hypervisor answers, but does no work: all its workers are stuck."""

    reason = "HYPERVISOR_DEGRADED"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the hypervisor {name!r} answers, but all its workers are stuck",
            metadata={"hypervisor": name},
            retry_after=5,
        )


class VmNotFound(NotFound):
    """Raised for a VM that is not there."""

    reason = "VM_NOT_FOUND"

    def __init__(self, vm_id: str) -> None:
        super().__init__(f"there is no VM {vm_id!r}", resource_type="vm", resource_name=vm_id)


class VmGone(NotFound):
    """Raised when a VM went away under a call."""

    reason = "VM_GONE"

    def __init__(self, message: str) -> None:
        super().__init__(message, resource_type="vm", resource_name="")


class SnapshotNotFound(NotFound):
    """Raised for a snapshot that a VM does not have."""

    reason = "SNAPSHOT_NOT_FOUND"

    def __init__(self, vm_id: str, name: str) -> None:
        super().__init__(
            f"the VM {vm_id!r} has no snapshot {name!r}", resource_type="snapshot", resource_name=f"{vm_id}/{name}"
        )


class SnapshotExists(AlreadyExists):
    """Raised for the name of a snapshot that the VM has already."""

    reason = "SNAPSHOT_EXISTS"

    def __init__(self, vm_id: str, name: str) -> None:
        super().__init__(
            f"the VM {vm_id!r} has a snapshot {name!r} already", metadata={"vm_id": vm_id, "snapshot": name}
        )


class PictureTooLarge(ResourceExhausted):
    """Raised for a screen whose picture does not fit an answer."""

    reason = "PICTURE_TOO_LARGE"

    def __init__(self, vm_id: str, size: int, most: int) -> None:
        super().__init__(f"the picture has {size} bytes, and {most} can be returned", subject=vm_id)


class VmAmbiguous(FailedPrecondition):
    """Raised for a bare name that stands for several VMs, or could."""

    reason = "VM_AMBIGUOUS"

    def __init__(self, name: str, message: str, candidates: list[str]) -> None:
        super().__init__(message, metadata={"name": name, "candidates": " ".join(candidates)})


class AlreadyInState(FailedPrecondition):
    """Raised when the VM is already in the state that a command leads to."""

    reason = "ALREADY_IN_STATE"

    def __init__(self, vm_id: str, state: str) -> None:
        super().__init__(f"the VM {vm_id!r} is already {state}", metadata={"vm_id": vm_id, "state": state})


class WrongState(FailedPrecondition):
    """Raised when a command cannot act on a VM in this state."""

    reason = "WRONG_STATE"

    def __init__(self, vm_id: str, state: str, needed: str) -> None:
        super().__init__(
            f"the VM {vm_id!r} is {state}; it has to be {needed}",
            metadata={"vm_id": vm_id, "state": state, "needed": needed},
        )


class StateMismatch(FailedPrecondition):
    """Raised when `if_state` does not hold."""

    reason = "STATE_MISMATCH"

    def __init__(self, vm_id: str, state: str, expected: str) -> None:
        super().__init__(
            f"the VM {vm_id!r} is {state}, not {expected}",
            metadata={"vm_id": vm_id, "state": state, "expected": expected},
        )


class UnsupportedByHypervisor(Unimplemented):
    """Raised when the hypervisor's driver cannot do what was asked."""

    reason = "UNSUPPORTED_BY_HYPERVISOR"


class OperationRefused(FailedPrecondition):
    """Raised when the hypervisor says that what was asked is not possible now."""

    reason = "OPERATION_REFUSED"


class OperationAborted(Aborted):
    """Raised when somebody cancelled a long operation on the hypervisor."""

    reason = "OPERATION_ABORTED"


class AccessDenied(PermissionDenied):
    """Raised when the hypervisor does not let this service do what was asked."""

    reason = "HYPERVISOR_ACCESS_DENIED"


class HypervisorBusy(Unavailable):
    """Raised when another operation on the VM has to end first."""

    reason = "VM_BUSY"


class HypervisorExhausted(ResourceExhausted):
    """Raised when the host lacks what an operation needs."""

    reason = "HYPERVISOR_EXHAUSTED"

    def __init__(self, message: str) -> None:
        super().__init__(message, subject="hypervisor", retry_after=30)


class HypervisorError(FailedPrecondition):
    """Raised for what a hypervisor reports that has no better name; its own words are in the message."""

    reason = "HYPERVISOR_ERROR"


class Compacted(OutOfRange):
    """Raised for a resume token whose place in the history is no longer kept: list anew, and watch from now on."""

    reason = "COMPACTED"

    def __init__(self) -> None:
        super().__init__("the events after this token are no longer kept; list anew, then watch without a token")


class CallsInFlight(DeadlineExceeded):
    """Raised when as many calls as may run on a VM or a hypervisor do not come back before the time is up."""

    reason = "CALLS_IN_FLIGHT"

    def __init__(self, hypervisor: str, vm: str, most: int) -> None:
        where = f"the VM {vm} of {hypervisor!r}" if vm else f"the hypervisor {hypervisor!r}"
        super().__init__(
            f"{most} calls on {where} are under way and do not come back",
            metadata={"hypervisor": hypervisor, **({"vm": vm} if vm else {})},
            retry_after=5,
        )
        self.vm = vm
        self.most = most


class LeaseNotFound(NotFound):
    """Raised for a lease that never was, or that is somebody else's: the two must look the same."""

    reason = "LEASE_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("there is no such lease", resource_type="lease", resource_name="")


class LeaseExpired(NotFound):
    """Raised for a lease that was not renewed in time."""

    reason = "LEASE_EXPIRED"

    def __init__(self, ref: str) -> None:
        super().__init__(f"the lease {ref} has expired", resource_type="lease", resource_name=ref)


class LeaseReleased(NotFound):
    """Raised for a lease that was given back."""

    reason = "LEASE_RELEASED"

    def __init__(self, ref: str) -> None:
        super().__init__(f"the lease {ref} was released", resource_type="lease", resource_name=ref)


class LeaseKilled(NotFound):
    """Raised for a lease that an operator ended."""

    reason = "LEASE_KILLED"

    def __init__(self, ref: str) -> None:
        super().__init__(f"an operator ended the lease {ref}", resource_type="lease", resource_name=ref)


class LeaseLost(Aborted):
    """Raised for a lease whose replica is gone, and the connection with it."""

    reason = "LEASE_LOST"

    def __init__(self) -> None:
        super().__init__("the replica that held the lease is gone; acquire another lease")


class LeaseUnreachable(Unavailable):
    """Raised when the replica that has a lease does not answer: the lease may live, or have died with it."""

    reason = "LEASE_UNREACHABLE"

    def __init__(self, replica: str) -> None:
        super().__init__(
            f"the replica {replica!r} that has the lease does not answer", metadata={"replica": replica}, retry_after=1
        )


class LeaseBusy(ResourceExhausted):
    """Raised when too many calls already wait on one lease."""

    reason = "LEASE_BUSY"

    def __init__(self, ref: str, most: int) -> None:
        super().__init__(f"{most} calls already wait on the lease {ref}", subject=ref, retry_after=1)


class WrongHypervisor(InvalidArgument):
    """Raised when a lease leads elsewhere than a call is meant for."""

    reason = "LEASE_OF_ANOTHER_HYPERVISOR"

    def __init__(self, lease_hypervisor: str, wanted: str) -> None:
        super().__init__("lease_id", f"leads to {lease_hypervisor!r}, not to {wanted!r}")


class RequestIdReused(InvalidArgument):
    """Raised when a request id comes again with another request."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self) -> None:
        super().__init__("request_id", "was used with a different request")


class OutcomeUnknown(Aborted):
    """Raised when the connection broke while a writing call ran: it may have had its effect."""

    reason = "OUTCOME_UNKNOWN"

    def __init__(self, hypervisor: str) -> None:
        super().__init__(
            f"the connection to {hypervisor!r} broke during the call; read the VM to see what came of it",
            metadata={"hypervisor": hypervisor},
        )
