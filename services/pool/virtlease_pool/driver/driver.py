"""Opens connections to hypervisors through libvirt."""

import libvirt

from virtlease_pool.driver import domain_events, events, jobs
from virtlease_pool.driver.connection import LibvirtConnection
from virtlease_pool.driver.version import version
from virtlease_pool.model import HostFacts, HypervisorConfig, JobProgress, VmRef, VmSeen


class LibvirtDriver:
    """See `ports.Driver`."""

    def __init__(self) -> None:
        events.start()

    async def open(self, config: HypervisorConfig) -> LibvirtConnection:
        return await LibvirtConnection.open(config)

    def facts(self, handle: libvirt.virConnect) -> HostFacts:
        return HostFacts(
            driver=handle.getType(),
            hostname=handle.getHostname(),
            libvirt_version=version(handle.getLibVersion()),
            hypervisor_version=version(handle.getVersion()),
        )

    def work(self, handle: libvirt.virConnect) -> None:
        handle.getCapabilities()

    def states(self, handle: libvirt.virConnect) -> list[VmSeen]:
        return domain_events.seen(handle)

    def progress(self, handle: libvirt.virConnect, ref: VmRef) -> JobProgress | None:
        return jobs.progress(handle, ref)

    def abort(self, handle: libvirt.virConnect, ref: VmRef) -> None:
        jobs.abort(handle, ref)
