"""Every VM command by its name and its other names, as the contract has them: nothing here knows one of them."""

import difflib
import functools
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from virtlease.pool.v1 import vm_service_pb2
from virtlease.tool.v1 import tool_pb2

_SERVICE = vm_service_pb2.DESCRIPTOR.services_by_name["VmService"]
_NO_COMMANDS = frozenset({"watch_vms"})  # it has no end


@dataclass(frozen=True)
class Command:
    """One RPC that runs on a connection."""

    name: str
    method: MethodDescriptor

    @functools.cached_property
    def path(self) -> str:
        """The path under which gRPC calls it."""
        return f"/{_SERVICE.full_name}/{self.method.name}"

    @functools.cached_property
    def request_class(self) -> type[Message]:
        return GetMessageClass(self.method.input_type)

    @functools.cached_property
    def response_class(self) -> type[Message]:
        return GetMessageClass(self.method.output_type)

    @property
    def streams(self) -> bool:
        """Whether it tells of its progress before its result."""
        return bool(self.method.server_streaming)

    def request(self, vm_id: str, lease_id: str, arguments: Mapping[str, Any]) -> Message:
        """The request for a VM on a lease. Raises TypeError or ValueError that names a wrong argument."""
        request = self.request_class()
        given = set(arguments)
        for role, value in (
            (tool_pb2.ROLE_LEASE, lease_id),
            (tool_pb2.ROLE_REQUEST_ID, secrets.token_urlsafe(16)),
            (tool_pb2.ROLE_VM, vm_id),
        ):
            field = self._roles.get(role)
            needed = role != tool_pb2.ROLE_VM or (field is not None and _option(field).required)
            if field is not None and needed and field.name not in given:
                setattr(request, field.name, value)
        for name, value in arguments.items():
            _set(request, self._field(name), value)
        return request

    def event(self, response: Any) -> tuple[Any, Any]:
        """What a message of a stream tells: progress or a result, and None for the other."""
        progress = result = None
        for field, value in response.ListFields():
            match _option(field).role:
                case tool_pb2.ROLE_PROGRESS:
                    progress = value
                case tool_pb2.ROLE_RESULT:
                    result = value
        return progress, result

    @functools.cached_property
    def _roles(self) -> Mapping[int, FieldDescriptor]:
        return {_option(field).role: field for field in self.method.input_type.fields}

    def _field(self, name: str) -> FieldDescriptor:
        fields: Descriptor = self.method.input_type
        if name in fields.fields_by_name:
            return fields.fields_by_name[name]
        raise TypeError(f"{self.name}: no argument {name!r}; it has {', '.join(sorted(fields.fields_by_name))}")


def find(name: str) -> Command:
    """The command of a name or an alias. Raises ValueError that names what is near."""
    commands = _commands()
    if name in commands:
        return commands[name]
    near = difflib.get_close_matches(name, commands, n=3, cutoff=0.5)
    raise ValueError(f"there is no command {name!r}; " + (f"near it: {', '.join(near)}" if near else _listed()))


def names() -> Mapping[str, str]:
    """Every name and alias, with the command that it stands for."""
    return {name: command.name for name, command in _commands().items()}


@functools.cache
def _commands() -> Mapping[str, Command]:
    found: dict[str, Command] = {}
    for method in _SERVICE.methods:
        command = Command(_snake_case(method.name), method)
        if command.name not in _NO_COMMANDS:
            found[command.name] = command
            found |= dict.fromkeys(method.GetOptions().Extensions[tool_pb2.tool].aliases, command)
    return found


def _listed() -> str:
    return f"there are {', '.join(sorted(_commands()))}"


def _set(request: Any, field: FieldDescriptor, value: Any) -> None:
    """Sets a field from a value as Python programs have it: enums by name, durations in seconds."""
    try:
        if field.enum_type is not None and not field.is_repeated:
            setattr(request, field.name, _enum(field, value))
        elif field.enum_type is not None:
            getattr(request, field.name).extend(_enum(field, each) for each in value)
        elif field.message_type is Duration.DESCRIPTOR and isinstance(value, int | float):
            getattr(request, field.name).FromMilliseconds(round(value * 1000))
        elif field.message_type is not None:
            getattr(request, field.name).CopyFrom(value)
        elif field.is_repeated:
            getattr(request, field.name).extend(value)
        else:
            setattr(request, field.name, value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{field.name}: {error}") from None


def _enum(field: FieldDescriptor, value: Any) -> int:
    if not isinstance(value, str):
        return int(value)
    enum: Any = field.enum_type
    kinds = enum.values_by_name
    prefix = _snake_case(enum.name).upper() + "_"
    for name in (value.upper(), prefix + value.upper()):
        if name in kinds:
            return int(kinds[name].number)
    known = ", ".join(name.removeprefix(prefix) for name in kinds if not name.endswith("_UNSPECIFIED"))
    raise ValueError(f"{value!r} is none of {known}")


def _option(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[tool_pb2.field]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
