"""What a request of VmService says, read by the roles of its fields."""

import re
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.errors import InvalidArgument

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
        self._limited = [
            (field, option)
            for field in method.input_type.fields
            if (option := field.GetOptions().Extensions[tool_pb2.field]).ByteSize()
        ]

    def read(self, request: Message) -> RequestFields:
        """The fields of one request. Raises InvalidArgument when a value is beyond what the contract says."""
        for field, option in self._limited:
            _check(field.name, getattr(request, field.name), option)
        values = {name: getattr(request, field) for name, field in self._names.items()}
        return RequestFields(**values, writes=self._writes)


def _check(name: str, value: Any, option: tool_pb2.Field) -> None:
    """The limits of fields that requests of VmService have: texts, lists and numbers."""
    if option.required and not value:
        raise InvalidArgument(name, "is required")
    if isinstance(value, str):
        if option.max_length and len(value) > option.max_length:
            raise InvalidArgument(name, f"at most {option.max_length} characters")
        if option.pattern and value and not re.fullmatch(option.pattern, value):
            raise InvalidArgument(name, f"expected to match {option.pattern}")
    elif isinstance(value, int | float):
        if option.HasField("minimum") and value < option.minimum:
            raise InvalidArgument(name, f"at least {option.minimum:g}")
        if option.HasField("maximum") and value > option.maximum:
            raise InvalidArgument(name, f"at most {option.maximum:g}")
    elif option.max_items and len(value) > option.max_items:
        raise InvalidArgument(name, f"at most {option.max_items} items")
