"""Which fields of an RPC mean something to the gateway, by their roles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from virtlease.tool.v1 import tool_pb2
from virtlease_gateway.translate.shape import options_of

# A lease id is a key to the connection: whoever reads a history shall not have it.
_KEPT_OUT = frozenset({tool_pb2.ROLE_SECRET, tool_pb2.ROLE_REQUEST_ID, tool_pb2.ROLE_LEASE})


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of fields; empty where an RPC has none of that role."""

    vm: str
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

    def without_secrets(self, arguments: Mapping[str, Any], *more: str) -> dict[str, Any]:
        """The arguments as a history may keep them, without those of `more` names too."""
        return {name: value for name, value in arguments.items() if name not in self.secrets and name not in more}


def _by_role(message: Descriptor) -> "dict[tool_pb2.Role.ValueType, str]":
    return {options_of(field).role: field.name for field in reversed(message.fields)}
