"""What a message looks like to a tool caller: its visible fields, and which of them exclude each other."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from virtlease.tool.v1 import tool_pb2

DURATION = "google.protobuf.Duration"
TIMESTAMP = "google.protobuf.Timestamp"

_FILLED_IN = (tool_pb2.ROLE_REQUEST_ID,)
_NEVER_SHOWN = (tool_pb2.ROLE_SECRET,)

INTEGERS_32 = frozenset(
    {
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_SINT32,
        FieldDescriptor.TYPE_SFIXED32,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_FIXED32,
    }
)
INTEGERS_64 = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_SFIXED64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
    }
)
UNSIGNED = frozenset(
    {
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_FIXED32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
    }
)
FLOATS = frozenset({FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE})

SAFE_INTEGER = 2**53
"""Integers of this size and less survive every JSON parser."""


class RecursiveMessage(TypeError):
    """Raised for a message that contains itself: no finite schema describes it to every client."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field and its options."""

    descriptor: FieldDescriptor
    options: tool_pb2.Field

    @property
    def name(self) -> str:
        name: str = self.descriptor.name
        return name

    @property
    def role(self) -> "tool_pb2.Role.ValueType":
        return self.options.role

    @property
    def is_map(self) -> bool:
        message = self.descriptor.message_type
        return message is not None and bool(message.GetOptions().map_entry)

    @property
    def is_list(self) -> bool:
        return bool(self.descriptor.is_repeated) and not self.is_map

    @property
    def message(self) -> Descriptor:
        """The type of a field that holds messages."""
        found = self.descriptor.message_type
        assert found is not None, f"{self.descriptor.full_name} holds no messages"
        return found

    @property
    def map_value(self) -> "Field":
        """The value of a map's entries, with the limits that the map's options set."""
        return Field(self.message.fields_by_name["value"], self.options)


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of a message that tool callers see, and the sets of which at most one is given."""

    fields: tuple[Field, ...]
    choices: tuple[tuple[str, ...], ...]


def input_shape(message: Descriptor) -> Shape:
    """What callers give: without what is hidden, and without what the gateway fills in."""
    return _shape(message, _FILLED_IN + _NEVER_SHOWN)


def output_shape(message: Descriptor) -> Shape:
    """What callers get: without what is hidden or secret."""
    return _shape(message, _NEVER_SHOWN)


def _shape(message: Descriptor, left_out: "tuple[tool_pb2.Role.ValueType, ...]") -> Shape:
    fields = tuple(
        field
        for field in (Field(each, options_of(each)) for each in message.fields)
        if not field.options.hidden and field.role not in left_out
    )
    names = {field.name for field in fields}
    choices = (tuple(each.name for each in oneof.fields if each.name in names) for oneof in _real_oneofs(message))
    return Shape(fields, tuple(choice for choice in choices if len(choice) > 1))


def _real_oneofs(message: Descriptor) -> list[Any]:
    """The oneofs that were written as such. A synthetic one stands for `optional` and is named for its one field."""
    return [oneof for oneof in message.oneofs if oneof.name != f"_{oneof.fields[0].name}"]


def options_of(field: FieldDescriptor) -> tool_pb2.Field:
    """The tool options of a field."""
    options: tool_pb2.Field = field.GetOptions().Extensions[tool_pb2.field]
    return options


def enum_names(enum: EnumDescriptor) -> dict[str, int]:
    """The values of an enum without its prefix, and without the one that says nothing."""
    prefix = _prefix(enum)
    return {value.name.removeprefix(prefix): value.number for value in enum.values if value.number != 0}


def _prefix(enum: EnumDescriptor) -> str:
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in enum.name).removeprefix("_")
    return f"{words.upper()}_"
