"""What type checkers know of `execute_command`: the arguments and the result of each command, by its names."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from virtlease.client.pool import commands
from virtlease.tool.v1 import tool_pb2

_HEAD = """# Written by `make docs` from the protos.
# fmt: off
# ruff: noqa
from collections.abc import Iterable
from typing import Any, Literal, overload

from google.protobuf.duration_pb2 import Duration

from virtlease.client.pool.connection import BaseConnection, Progress
"""
_SCALARS = {
    FieldDescriptor.CPPTYPE_STRING: "str",
    FieldDescriptor.CPPTYPE_BOOL: "bool",
    FieldDescriptor.CPPTYPE_DOUBLE: "float",
    FieldDescriptor.CPPTYPE_FLOAT: "float",
}


def command_types() -> str:
    """The text of execute.pyi."""
    found: dict[str, list[str]] = {}
    for alias, name in commands.names().items():
        found.setdefault(name, []).append(alias)
    imports = sorted({_module(_result(commands.find(name))) for name in found})
    lines = [_HEAD + f"from virtlease.pool.v1 import {', '.join(imports)}"]
    for kind, define in (("Execute", "def"), ("AsyncExecute", "async def")):
        lines += ["", f"class {kind}(BaseConnection):"]
        for name, aliases in found.items():
            lines += _overload(define, commands.find(name), [name, *(each for each in aliases if each != name)])
        lines += ["    @overload", f"    {define} execute_command(self, which: str, /, **arguments: Any) -> Any: ..."]
    return "\n".join(lines) + "\n"


def _overload(define: str, command: commands.Command, names: list[str]) -> Iterator[str]:
    literals = ", ".join(f'"{name}"' for name in names)
    yield "    @overload"
    yield f"    {define} execute_command("
    yield f"        self, which: Literal[{literals}], /, *,"
    yield "        timeout: float | None = None, progress: Progress | None = None,"
    for field in command.method.input_type.fields:
        assert field.name not in ("timeout", "progress"), f"{field.full_name}: execute_command has an argument like it"
        yield f"        {field.name}: {_argument(field)} = ...,"
    result = _result(command)
    yield f"    ) -> {_module(result)}.{result.name}: ..."


def _result(command: commands.Command) -> Descriptor:
    """The message that a caller gets: the response, or the result in the responses of a stream."""
    response: Descriptor = command.method.output_type
    for field in response.fields:
        if field.GetOptions().Extensions[tool_pb2.field].role == tool_pb2.ROLE_RESULT:
            return field.message_type
    return response


def _argument(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        kind = "str | int"
    elif field.message_type is not None:
        assert field.message_type.full_name == "google.protobuf.Duration", f"{field.full_name}: say what Python gives"
        kind = "float | Duration"
    else:
        kind = _SCALARS.get(field.cpp_type, "int") if field.type != FieldDescriptor.TYPE_BYTES else "bytes"
    return f"Iterable[{kind}]" if field.is_repeated else kind


def _module(message: Descriptor) -> str:
    return f"{message.file.name.rpartition('/')[2].removesuffix('.proto')}_pb2"
