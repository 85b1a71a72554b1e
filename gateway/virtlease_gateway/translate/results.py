"""Response messages to the results of tools. The encoders are made once, from descriptors, and match the schema."""

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from virtlease.tool.v1 import tool_pb2
from virtlease_gateway.translate import shape
from virtlease_gateway.translate.shape import Field

Encode = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a result."""

    data: bytes
    mime_type: str


class ResultEncoder:
    """Encodes the results of one tool."""

    def __init__(self, message: Descriptor) -> None:
        self._encode = _message_encoder(message)
        self._image = next(
            (field.name for field in message.fields if shape.options_of(field).role == tool_pb2.ROLE_IMAGE), None
        )

    @property
    def has_image(self) -> bool:
        """Whether there is a picture beside the result."""
        return self._image is not None

    def encode(self, response: Message) -> dict[str, Any]:
        """The result as JSON. Defaults are written; what is unset is not there."""
        result: dict[str, Any] = self._encode(response)
        return result

    def image(self, response: Message) -> Image | None:
        """The picture that the response holds, if it holds one."""
        if self._image is None:
            return None
        return Image(getattr(response, self._image), response.mime_type)  # type: ignore[attr-defined]


class _Written(Enum):
    """When a field is written."""

    ALWAYS = 1
    IF_PRESENT = 2
    IF_NOT_ZERO = 3


def _message_encoder(message: Descriptor) -> Encode:
    fields = [
        (field.name, _written(field), _field_encoder(field))
        for field in shape.output_shape(message).fields
        if field.role != tool_pb2.ROLE_IMAGE
    ]

    def encode(value: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, written, encode_field in fields:
            if (
                written is _Written.ALWAYS
                or (written is _Written.IF_PRESENT and value.HasField(name))
                or (written is _Written.IF_NOT_ZERO and getattr(value, name))
            ):
                result[name] = encode_field(getattr(value, name))
        return result

    return encode


def _written(field: Field) -> _Written:
    if field.descriptor.has_presence:
        return _Written.IF_PRESENT
    if field.descriptor.enum_type is not None and not field.is_list:
        return _Written.IF_NOT_ZERO  # the value that says nothing
    return _Written.ALWAYS


def _field_encoder(field: Field) -> Encode:
    if field.is_map:
        encode_item = _value_encoder(field.map_value)
        return lambda entries: {str(key): encode_item(entries[key]) for key in sorted(entries)}
    encode_item = _value_encoder(field)
    if field.is_list:
        return lambda items: [encode_item(item) for item in items]
    return encode_item


def _value_encoder(field: Field) -> Encode:
    descriptor = field.descriptor
    if field.role == tool_pb2.ROLE_JSON_TEXT:
        return _encode_json_text
    if descriptor.enum_type is not None:
        return _enum_encoder(shape.enum_names(descriptor.enum_type))
    if descriptor.message_type is not None:
        match descriptor.message_type.full_name:
            case shape.DURATION:
                return _encode_duration
            case shape.TIMESTAMP:
                return lambda value: value.ToJsonString()
        return _message_encoder(descriptor.message_type)
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    if descriptor.type in shape.INTEGERS_64:
        return lambda value: value if -shape.SAFE_INTEGER <= value <= shape.SAFE_INTEGER else str(value)
    if descriptor.type in shape.FLOATS:
        return lambda value: value if math.isfinite(value) else None
    return lambda value: value


def _enum_encoder(names: dict[str, int]) -> Encode:
    by_number = {number: name for name, number in names.items()}
    return lambda number: by_number.get(number, str(number))


def _encode_duration(value: Any) -> str:
    text: str = value.ToJsonString()
    return text


def _encode_json_text(text: str) -> Any:
    # A number beyond a double's range would turn into Infinity, which is no JSON: it stays as it is written.
    return json.loads(text, parse_float=_finite)


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text
