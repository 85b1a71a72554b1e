"""JSON Schema of messages: what callers may give, and what they get.

Written for clients that understand little of JSON Schema: every object is closed, nothing is referred to, and the
top level has no oneOf, which some refuse. There, fields of a oneof say in their description that they exclude each
other, and the decoder sees to it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from virtlease.tool.v1 import tool_pb2
from virtlease_gateway.translate import shape
from virtlease_gateway.translate.shape import Field, RecursiveMessage, Shape

Schema = dict[str, Any]

DURATION_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,9})?s$"
_INTEGER_PATTERN = r"^-?[0-9]{1,20}$"


def input_schema(message: Descriptor, comments: Mapping[str, str]) -> Schema:
    """The schema of a tool's arguments. Raises RecursiveMessage."""
    return _Writer(comments, shape.input_shape, takes_input=True).top(message)


def output_schema(message: Descriptor, comments: Mapping[str, str]) -> Schema:
    """The schema of a tool's result. Raises RecursiveMessage."""
    return _Writer(comments, shape.output_shape, takes_input=False).top(message)


class _Writer:
    def __init__(
        self, comments: Mapping[str, str], shape_of: Callable[[Descriptor], Shape], *, takes_input: bool
    ) -> None:
        self._comments = comments
        self._shape_of = shape_of
        self._takes_input = takes_input

    def top(self, message: Descriptor) -> Schema:
        found = self._shape_of(message)
        schema = self._object(message, found, ())
        for choice in found.choices:
            for name in choice:
                one = schema["properties"][name]
                others = ", ".join(other for other in choice if other != name)
                one["description"] = f"{one.get('description', '')} Not together with {others}.".strip()
        return schema

    def _object(self, message: Descriptor, found: Shape, above: tuple[Descriptor, ...]) -> Schema:
        if message in above:
            raise RecursiveMessage(f"{message.full_name} contains itself; a tool's messages are finite")
        properties = {
            field.name: self._described(field, self._field(field, (*above, message)))
            for field in found.fields
            if self._takes_input or field.role != tool_pb2.ROLE_IMAGE
        }
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [field.name for field in found.fields if field.name in properties and self._is_required(field)]
        if required:
            schema["required"] = required
        return schema

    def _is_required(self, field: Field) -> bool:
        if self._takes_input:
            return field.options.required
        # Defaults are written, so that these are always there. An enum that says nothing is left out.
        return not field.descriptor.has_presence and field.descriptor.enum_type is None

    def _field(self, field: Field, above: tuple[Descriptor, ...]) -> Schema:
        options = field.options
        if field.is_map:
            schema: Schema = {"type": "object", "additionalProperties": self._value(field.map_value, above)}
            if self._takes_input and options.max_items:
                schema["maxProperties"] = options.max_items
            if self._takes_input and options.key_pattern:
                schema["propertyNames"] = {"pattern": _whole(options.key_pattern)}
            return schema
        if field.is_list:
            schema = {"type": "array", "items": self._value(field, above)}
            if self._takes_input and options.max_items:
                schema["maxItems"] = options.max_items
            return schema
        return self._value(field, above)

    def _value(self, field: Field, above: tuple[Descriptor, ...]) -> Schema:
        descriptor, options = field.descriptor, field.options
        if field.role == tool_pb2.ROLE_JSON_TEXT:
            return {}
        if descriptor.enum_type is not None:
            return {"type": "string", "enum": list(shape.enum_names(descriptor.enum_type))}
        if descriptor.message_type is not None:
            return self._message(field, above)
        if descriptor.type == FieldDescriptor.TYPE_BOOL:
            return {"type": "boolean"}
        if descriptor.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        if descriptor.type in shape.FLOATS:
            return {"type": "number", **self._range(options)}
        if descriptor.type in shape.INTEGERS_32:
            lowest = {"minimum": 0} if descriptor.type in shape.UNSIGNED else {}
            return {"type": "integer", **lowest, **self._range(options)}
        if descriptor.type in shape.INTEGERS_64:
            return {
                "anyOf": [{"type": "integer", **self._range(options)}, {"type": "string", "pattern": _INTEGER_PATTERN}]
            }
        schema: Schema = {"type": "string"}
        if self._takes_input and options.max_length:
            schema["maxLength"] = options.max_length
        if self._takes_input and options.pattern:
            schema["pattern"] = _whole(options.pattern, or_empty=not options.required)
        return schema

    def _message(self, field: Field, above: tuple[Descriptor, ...]) -> Schema:
        message = field.message
        if message.full_name == shape.TIMESTAMP:
            return {"type": "string", "format": "date-time"}
        if message.full_name == shape.DURATION:
            text: Schema = {"type": "string", "pattern": DURATION_PATTERN}
            if not self._takes_input:
                return text
            return {"anyOf": [{"type": "number", **self._range(field.options)}, text]}
        found = self._shape_of(message)
        schema = self._object(message, found, above)
        if len(found.choices) == 1 and self._takes_input:
            schema["oneOf"] = [{"required": [name]} for name in found.choices[0]]
        return schema

    def _range(self, options: tool_pb2.Field) -> Schema:
        if not self._takes_input:
            return {}
        bounds = (("minimum", options.minimum), ("maximum", options.maximum))
        return {name: _plain(value) for name, value in bounds if options.HasField(name)}  # type: ignore[arg-type]

    def _described(self, field: Field, schema: Schema) -> Schema:
        comment = self._comments.get(field.descriptor.full_name, "")
        if field.descriptor.message_type is not None and field.descriptor.message_type.full_name == shape.DURATION:
            comment = f'{comment} As "90s"{", or a number of seconds" if self._takes_input else ""}.'
        return {**schema, "description": comment.strip()} if comment else schema


def _whole(pattern: str, *, or_empty: bool = False) -> str:
    """A pattern that is to match the whole text. Some callers write an empty text where they mean nothing."""
    return f"^(?:{pattern})?$" if or_empty else f"^(?:{pattern})$"


def _plain(value: float) -> int | float:
    return int(value) if value.is_integer() else value
