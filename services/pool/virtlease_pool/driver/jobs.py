"""Long operations of libvirt: how far one has come, and taking it back. From another connection than its own."""

import contextlib

import libvirt

from virtlease_pool.driver.commands.registry import Host
from virtlease_pool.model import JobProgress, VmRef

_WITHOUT_JOBS = frozenset(
    {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_UNSUPPORTED}
)


def progress(handle: libvirt.virConnect, ref: VmRef) -> JobProgress | None:
    """How far the job on a VM has come; None when none runs, or the driver does not tell."""
    try:
        stats = Host(ref.hypervisor, handle).vm(ref).domain.jobStats()
    except libvirt.libvirtError as error:
        if error.get_error_code() in _WITHOUT_JOBS:
            return None
        raise
    if stats.get("type") == libvirt.VIR_DOMAIN_JOB_NONE:
        return None
    total, done = stats.get("data_total", 0), stats.get("data_processed", 0)
    return JobProgress(min(1.0, done / total) if total else None, f"{done} of {total} bytes" if total else "under way")


def abort(handle: libvirt.virConnect, ref: VmRef) -> None:
    """Asks for the end of the job on a VM. One that has ended by itself, or cannot be ended, is left alone."""
    with contextlib.suppress(libvirt.libvirtError):
        Host(ref.hypervisor, handle).vm(ref).domain.abortJob()
