"""Requests that are not what they should be on the wire.

gRPC answers UNKNOWN to bytes that are no message, which tells callers nothing and looks like a fault of the service. So
such bytes are let through as what they are, and refused by the handler, with the field that cannot be read.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from virtlease_chassis.errors import InvalidArgument

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that came in place of a request. `field` is the path of the first one that cannot be read."""

    field: str

    def error(self) -> InvalidArgument:
        """What to tell the caller."""
        return InvalidArgument(self.field or "request", "cannot be read: not well-formed, or text that is not UTF-8")


def reader(message_class: type[Message]) -> Callable[[bytes], Any]:
    """Makes requests of bytes, and of bytes that are none a Malformed."""
    parse = message_class.FromString
    descriptor: Any = message_class.DESCRIPTOR

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return Malformed(_fault(data, descriptor) or "")

    return read


async def whole(incoming: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The requests of a stream. Raises InvalidArgument for the first that is malformed."""
    async for request in incoming:
        if type(request) is Malformed:
            raise request.error()
        yield request


def _fault(data: bytes, descriptor: Descriptor) -> str | None:
    """The path of the first field that cannot be read; empty when none can be told, None when all can be read."""
    position = 0
    counts: dict[str, int] = {}
    while position < len(data):
        tag, position = _varint(data, position)
        field = descriptor.fields_by_number.get(tag >> 3)
        name = field.name if field else ""
        kind = tag & 7
        if kind == _VARINT:
            _, position = _varint(data, position)
        elif kind in _SIZES:
            position += _SIZES[kind]
        elif kind == _BYTES:
            length, position = _varint(data, position)
            part = data[position : position + length]
            position += length
            if field is not None and position <= len(data) and (inside := _fault_inside(part, field)) is not None:
                return _path(field, counts.get(name, 0), inside)
        else:
            return name
        if position > len(data):
            return name
        counts[name] = counts.get(name, 0) + 1
    return None


def _fault_inside(part: bytes, field: FieldDescriptor) -> str | None:
    if field.message_type is not None:
        return _fault(part, field.message_type)
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            part.decode()
        except UnicodeDecodeError:
            return ""
    return None


def _path(field: FieldDescriptor, index: int, inside: str) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return field.name
    name = f"{field.name}[{index}]" if field.is_repeated else field.name
    return f"{name}.{inside}" if inside else name


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number and where it ends, which is beyond the data when the number is cut off or too long."""
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    return value, len(data) + 1
