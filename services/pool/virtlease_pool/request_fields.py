"""What a request of VmService says, read by the roles of its fields."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from virtlease.tool.v1 import tool_pb2

_READ_ROLES = {
    "vm_id": tool_pb2.ROLE_VM,
    "hypervisor": tool_pb2.ROLE_HYPERVISOR,
    "lease_id": tool_pb2.ROLE_LEASE,
    "request_id": tool_pb2.ROLE_REQUEST_ID,
    "if_state": tool_pb2.ROLE_IF_STATE,
}


@dataclass(frozen=True, slots=True)
class RequestFields:
    """The fields that matter to every command. Empty, or 0, where a request has none."""

    vm_id: str = ""
    hypervisor: str = ""
    lease_id: str = ""
    request_id: str = ""
    if_state: Any = 0
    writes: bool = False


class RequestReader:
    """Reads the requests of one method."""

    def __init__(self, method: MethodDescriptor) -> None:
        by_role = {field.GetOptions().Extensions[tool_pb2.field].role: field.name for field in method.input_type.fields}
        self._names = {name: by_role[role] for name, role in _READ_ROLES.items() if role in by_role}
        self._writes = "request_id" in self._names

    def read(self, request: Message) -> RequestFields:
        """The fields of one request."""
        values = {name: getattr(request, field) for name, field in self._names.items()}
        return RequestFields(**values, writes=self._writes)
