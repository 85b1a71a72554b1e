"""libvirt's errors in the words of the domain: the one table."""

import re
from collections.abc import Callable

import libvirt

from virtlease_chassis.errors import DomainError
from virtlease_pool.errors import (
    AccessDenied,
    HypervisorBusy,
    HypervisorError,
    HypervisorExhausted,
    HypervisorUnavailable,
    OperationAborted,
    OperationRefused,
    UnsupportedByHypervisor,
    VmGone,
)

# A connection that reported one of these, from the transport and not from a driver, never recovers.
_BROKEN_CODES = frozenset(
    {
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
    }
)
_TRANSPORT = frozenset({libvirt.VIR_FROM_REMOTE, libvirt.VIR_FROM_RPC})


_TABLE: dict[int, Callable[[str], DomainError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: VmGone,
    libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT: lambda text: OperationRefused(f"the snapshot went away: {text}"),
    libvirt.VIR_ERR_DOM_EXIST: lambda text: OperationRefused(f"there is one of this name already: {text}"),
    libvirt.VIR_ERR_OPERATION_ABORTED: lambda text: OperationAborted(f"the operation was aborted: {text}"),
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: lambda text: HypervisorBusy(
        f"the guest agent does not answer; is it running in the guest? {text}", retry_after=5
    ),
    libvirt.VIR_ERR_NO_MEMORY: lambda text: HypervisorExhausted(f"the host is out of memory: {text}"),
    libvirt.VIR_ERR_SNAPSHOT_REVERT_RISKY: lambda text: OperationRefused(
        f"going back to this snapshot would cut the running VM off; shut it down first: {text}"
    ),
    libvirt.VIR_ERR_NO_SUPPORT: lambda text: UnsupportedByHypervisor(f"the hypervisor cannot do this: {text}"),
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: lambda text: UnsupportedByHypervisor(
        f"the hypervisor cannot do this: {text}"
    ),
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: lambda text: UnsupportedByHypervisor(
        f"the hypervisor cannot do this with this VM: {text}"
    ),
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: lambda text: UnsupportedByHypervisor(
        f"the hypervisor cannot do this in this way: {text}"
    ),
    libvirt.VIR_ERR_OPERATION_INVALID: lambda text: OperationRefused(f"not possible now: {text}"),
    libvirt.VIR_ERR_OPERATION_DENIED: lambda text: AccessDenied(f"the hypervisor does not allow it: {text}"),
    libvirt.VIR_ERR_ACCESS_DENIED: lambda text: AccessDenied(f"the hypervisor does not allow it: {text}"),
    libvirt.VIR_ERR_AUTH_FAILED: lambda text: AccessDenied(f"the hypervisor does not let this service in: {text}"),
    libvirt.VIR_ERR_OPERATION_TIMEOUT: lambda text: HypervisorBusy(
        f"another operation on the VM has to end first: {text}", retry_after=5
    ),
}


def translate(error: libvirt.libvirtError, hypervisor: str) -> DomainError:
    """What a caller is told of a libvirt error."""
    text = _without_addresses(error.get_error_message() or str(error))
    if is_broken(error):
        return HypervisorUnavailable(hypervisor, text)
    make = _TABLE.get(error.get_error_code())
    if error.get_error_code() == libvirt.VIR_ERR_INVALID_ARG and text.startswith("unsupported flags"):
        make = _TABLE[libvirt.VIR_ERR_NO_SUPPORT]  # how drivers refuse an option that they do not have
    return (
        make(text) if make else HypervisorError(f"the hypervisor reports: {text}", metadata={"hypervisor": hypervisor})
    )


def is_broken(error: libvirt.libvirtError) -> bool:
    """Whether the connection is of no more use."""
    return error.get_error_domain() in _TRANSPORT and error.get_error_code() in _BROKEN_CODES


def _without_addresses(text: str) -> str:
    """libvirt quotes hosts and paths, which are the operator's business; the log has them."""
    return re.sub(r"'[^']*[/:][^']*'", "(address)", text)
