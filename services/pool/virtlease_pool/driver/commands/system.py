"""Commands that look at hosts."""

import libvirt

from virtlease.pool.v1 import vm_inspection_pb2 as calls
from virtlease_pool.driver.commands.registry import Host, on_host
from virtlease_pool.driver.version import version


@on_host
def get_system_info(host: Host, request: calls.GetSystemInfoRequest) -> calls.GetSystemInfoResponse:
    """Describes a host."""
    connection = host.connection
    model, memory_mib, cpus, mhz, nodes, *_ = connection.getInfo()
    response = calls.GetSystemInfoResponse(
        hypervisor=host.name,
        hostname=connection.getHostname(),
        driver=connection.getType(),
        libvirt_version=version(connection.getLibVersion()),
        hypervisor_version=version(connection.getVersion()),
        cpu_model=model,
        cpus=cpus,
        cpu_mhz=mhz,
        numa_nodes=nodes,
        memory_bytes=memory_mib * 1024 * 1024,
        active_vms=connection.numOfDomains(),
        inactive_vms=connection.numOfDefinedDomains(),
    )
    try:
        response.free_memory_bytes = connection.getFreeMemory()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
    return response
