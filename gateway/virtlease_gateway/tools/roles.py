"""Which fields of an RPC mean something to the gateway, by their roles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message

from virtlease.tool.v1 import tool_pb2
from virtlease_gateway.translate.shape import options_of

# A lease id is a key to the connection: whoever reads a history shall not have it.
_KEPT_OUT = frozenset({tool_pb2.ROLE_SECRET, tool_pb2.ROLE_REQUEST_ID, tool_pb2.ROLE_LEASE})


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of fields; empty where an RPC has none of that role."""

    vm: str
    hypervisor: str
    lease: str
    ends_lease: bool
    grants_lease: bool
    request_id: str
    progress: str
    result: str
    result_type: Descriptor
    secrets: frozenset[str]

    @classmethod
    def of(cls, method: MethodDescriptor) -> Self:
        """Reads them off a method."""
        request, response = _by_role(method.input_type), _by_role(method.output_type)
        result = response.get(tool_pb2.ROLE_RESULT, "") if method.server_streaming else ""
        result_type = method.output_type.fields_by_name[result].message_type if result else method.output_type
        assert result_type is not None, f"{method.full_name}: the field with the role RESULT is a message"
        return cls(
            vm=request.get(tool_pb2.ROLE_VM, ""),
            hypervisor=request.get(tool_pb2.ROLE_HYPERVISOR, ""),
            lease=(lease := request.get(tool_pb2.ROLE_LEASE, "")),
            ends_lease=bool(lease) and options_of(method.input_type.fields_by_name[lease]).required,
            grants_lease=not lease and _lease_in(method.output_type) is not None,
            request_id=request.get(tool_pb2.ROLE_REQUEST_ID, ""),
            progress=response.get(tool_pb2.ROLE_PROGRESS, ""),
            result=result,
            result_type=result_type,
            secrets=frozenset(
                field.name
                for field in method.input_type.fields
                if options_of(field).role in _KEPT_OUT or options_of(field).hidden
            ),
        )

    def hypervisor_of(self, request: Message) -> str:
        """The hypervisor that a request names, by itself or by its VM; empty when it does not say."""
        if self.hypervisor and (name := getattr(request, self.hypervisor)):
            return str(name)
        vm_id = str(getattr(request, self.vm)) if self.vm else ""
        return vm_id.partition("/")[0] if "/" in vm_id else ""

    def without_secrets(self, arguments: Mapping[str, Any], *more: str) -> dict[str, Any]:
        """The arguments as a history may keep them, without those of `more` names too."""
        return {name: value for name, value in arguments.items() if name not in self.secrets and name not in more}


def _by_role(message: Descriptor) -> "dict[tool_pb2.Role.ValueType, str]":
    return {options_of(field).role: field.name for field in reversed(message.fields)}


def granted_lease(response: Message) -> tuple[str, str]:
    """The lease that a response grants: its hypervisor and its id."""
    name = _lease_in(response.DESCRIPTOR)  # type: ignore[arg-type]  # the C class is the same
    lease = getattr(response, name or "")
    roles = _by_role(lease.DESCRIPTOR)
    return getattr(lease, roles[tool_pb2.ROLE_HYPERVISOR]), getattr(lease, roles[tool_pb2.ROLE_LEASE])


def _lease_in(response: Descriptor) -> str | None:
    """The field that holds a lease: one message with an id of one, and its hypervisor."""
    for field in response.fields:
        if field.message_type is not None and not field.is_repeated:
            roles = _by_role(field.message_type)
            if tool_pb2.ROLE_LEASE in roles and tool_pb2.ROLE_HYPERVISOR in roles:
                return str(field.name)
    return None
