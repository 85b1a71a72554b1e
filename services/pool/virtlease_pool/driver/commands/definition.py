"""The definition of a VM, without what is secret in it."""

from xml.etree import ElementTree

import libvirt

from virtlease.pool.v1 import vm_inspection_pb2 as calls
from virtlease_pool.driver.commands.registry import Vm, on_vm

_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
_HIDDEN = "(secret)"

# libvirt leaves passwords out unless it is asked for them with a flag that is not used here. What it does not know to
# be a secret stays in: options and environment passed through to QEMU, data handed to the guest, keys of guests.
_SECRET_ATTRIBUTES = ("passwd", "password")
_SECRET_TEXTS = ("sysinfo[@type='fwcfg']/entry", "launchSecurity/session", "launchSecurity/dhCert", ".//cookie")

ElementTree.register_namespace("qemu", _QEMU.strip("{}"))


@on_vm
def get_vm_xml(vm: Vm, request: calls.GetVmXmlRequest) -> calls.GetVmXmlResponse:
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE if request.inactive else 0
    return calls.GetVmXmlResponse(xml=without_secrets(vm.domain.XMLDesc(flags)))


def without_secrets(xml: str) -> str:
    """The same document with a marker in the place of what could be a secret."""
    root = ElementTree.fromstring(xml)
    for element in root.iter():
        for name in _SECRET_ATTRIBUTES:
            if name in element.attrib:
                element.set(name, _HIDDEN)
    for path in _SECRET_TEXTS:
        for element in root.iterfind(path):
            element.text = _HIDDEN
    for element in root.iterfind(f"{_QEMU}commandline/*"):
        element.set("value", _HIDDEN)
    return ElementTree.tostring(root, encoding="unicode")
