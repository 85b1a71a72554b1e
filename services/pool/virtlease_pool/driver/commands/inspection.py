"""Commands that look at VMs."""

from collections.abc import Iterator
from xml.etree import ElementTree

import libvirt
from google.protobuf.duration_pb2 import Duration

from virtlease.pool.v1 import vm_inspection_pb2 as calls
from virtlease.pool.v1 import vm_pb2
from virtlease_pool.driver.commands import states
from virtlease_pool.driver.commands.registry import Host, Vm, on_host, on_vm


@on_vm
def get_vm(vm: Vm, request: calls.GetVmRequest) -> calls.GetVmResponse:
    """Describes one VM."""
    response = calls.GetVmResponse(vm=describe(vm))
    if request.details:
        response.details.CopyFrom(_details(vm.domain))
    return response


@on_host
def list_vms(host: Host, request: calls.ListVmsRequest) -> calls.ListVmsResponse:
    """Lists the VMs of one host that the request selects; pages are made of what all hosts return."""
    wanted = set(request.states)
    vms = []
    for domain in host.connection.listAllDomains():
        if request.name_contains and request.name_contains not in domain.name():
            continue
        try:
            vm = describe(Vm(host, domain))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # it went away since it was listed
            raise
        if not wanted or vm.state in wanted:
            vms.append(vm)
    return calls.ListVmsResponse(vms=vms)


def describe(vm: Vm) -> vm_pb2.Vm:
    """What a list shows of a VM: two calls to libvirt."""
    number, reason = vm.domain.state()
    _, max_memory, memory, vcpus, cpu_time = vm.domain.info()
    state = states.from_libvirt(number)
    cpu = Duration()
    cpu.FromNanoseconds(min(cpu_time, 2**63 - 1))
    return vm_pb2.Vm(
        vm_id=vm.vm_id,
        hypervisor=vm.host.name,
        name=vm.domain.name(),
        uuid=vm.domain.UUIDString(),
        state=state,
        state_reason=states.reason(state, reason),
        vcpus=vcpus,
        memory_bytes=memory * 1024,
        max_memory_bytes=max_memory * 1024,
        cpu_time=cpu,
    )


def _details(domain: libvirt.virDomain) -> vm_pb2.VmDetails:
    root = ElementTree.fromstring(domain.XMLDesc())
    os_type = root.find("os/type")
    return vm_pb2.VmDetails(
        persistent=bool(domain.isPersistent()),
        autostart=bool(domain.autostart()) if domain.isPersistent() else False,
        title=root.findtext("title", ""),
        description=root.findtext("description", ""),
        os_type=root.findtext("os/type", ""),
        arch=os_type.get("arch", "") if os_type is not None else "",
        machine=os_type.get("machine", "") if os_type is not None else "",
        disks=_disks(root),
        interfaces=_interfaces(root),
        snapshots=_snapshots(domain),
    )


def _snapshots(domain: libvirt.virDomain) -> int:
    try:
        count: int = domain.snapshotNum()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return 0
    return count


def _disks(root: ElementTree.Element) -> Iterator[vm_pb2.Disk]:
    for disk in root.iterfind("devices/disk"):
        yield vm_pb2.Disk(
            target=_attribute(disk, "target", "dev"),
            bus=_attribute(disk, "target", "bus"),
            device=disk.get("device", "disk"),
            source=_source(disk),
            format=_attribute(disk, "driver", "type"),
            read_only=disk.find("readonly") is not None,
        )


def _interfaces(root: ElementTree.Element) -> Iterator[vm_pb2.NetworkInterface]:
    for interface in root.iterfind("devices/interface"):
        yield vm_pb2.NetworkInterface(
            mac_address=_attribute(interface, "mac", "address"),
            type=interface.get("type", ""),
            source=_source(interface),
            target=_attribute(interface, "target", "dev"),
            model=_attribute(interface, "model", "type"),
        )


def _attribute(element: ElementTree.Element, child: str, name: str) -> str:
    found = element.find(child)
    return found.get(name, "") if found is not None else ""


def _source(element: ElementTree.Element) -> str:
    """Where a device leads to: libvirt names the attribute after the kind of source."""
    source = element.find("source")
    if source is None:
        return ""
    if volume := source.get("volume"):
        return f"{source.get('pool', '')}/{volume}"
    for name in ("file", "dev", "dir", "name", "network", "bridge"):
        if value := source.get(name):
            return value
    return ""
