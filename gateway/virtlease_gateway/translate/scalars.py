"""Decoders of single values: text, numbers, enums, times, JSON. Every fault names the path of its field."""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from virtlease.tool.v1 import tool_pb2
from virtlease_gateway.translate import shape
from virtlease_gateway.translate.shape import Field

Decode = Callable[[Any, str], Any]
"""Takes a JSON value and the path of its field; returns what the message takes. Raises BadArguments."""


class BadArguments(ValueError):
    """Raised when arguments do not fit; `faults` has what is wrong by the path of the field."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {fault}" for path, fault in faults))
        self.faults = faults


def refuse(path: str, fault: str) -> NoReturn:
    """Raises BadArguments with this one fault."""
    raise BadArguments([(path or "arguments", fault)])


def value_decoder(field: Field) -> Decode | None:
    """The decoder of a single value; None for one that is a message with fields of its own."""
    descriptor = field.descriptor
    if field.role == tool_pb2.ROLE_JSON_TEXT:
        return _json_text_decoder(field.options.max_length)
    if descriptor.enum_type is not None:
        return _enum_decoder(shape.enum_names(descriptor.enum_type))
    if descriptor.message_type is not None:
        special = {shape.DURATION: _duration_decoder, shape.TIMESTAMP: _timestamp_decoder}
        make = special.get(descriptor.message_type.full_name)
        return make(field) if make else None
    if descriptor.type == FieldDescriptor.TYPE_BOOL:
        return _decode_bool
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return _decode_bytes
    if descriptor.type in shape.FLOATS:
        return _number_decoder(field.options)
    if descriptor.type in shape.INTEGERS_32:
        return _integer_decoder(field, 32)
    if descriptor.type in shape.INTEGERS_64:
        return _integer_decoder(field, 64)
    return _string_decoder(field.options)


def _string_decoder(options: tool_pb2.Field) -> Decode:
    most = options.max_length
    pattern = re.compile(options.pattern) if options.pattern else None

    def decode(value: Any, path: str) -> str:
        if not isinstance(value, str):
            refuse(path, "expected a string")
        if most and len(value) > most:
            refuse(path, f"at most {most} characters")
        if pattern and (value or options.required) and not pattern.fullmatch(value):
            refuse(path, f"has to match {pattern.pattern}")
        return value

    return decode


def _json_text_decoder(most: int) -> Decode:
    def decode(value: Any, path: str) -> str:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            size = len(text.encode())
        except (ValueError, RecursionError) as error:
            refuse(path, f"not a JSON value: {error}")
        if most and size > most:
            refuse(path, f"at most {most} bytes as JSON")
        return text

    return decode


def _enum_decoder(names: dict[str, int]) -> Decode:
    def decode(value: Any, path: str) -> int:
        if isinstance(value, str) and value in names:
            return names[value]
        refuse(path, f"expected one of {', '.join(names)}")

    return decode


def _integer_decoder(field: Field, bits: int) -> Decode:
    unsigned = field.descriptor.type in shape.UNSIGNED
    lowest, highest = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if field.options.HasField("minimum"):
        lowest = max(lowest, math.ceil(field.options.minimum))
    if field.options.HasField("maximum"):
        highest = min(highest, math.floor(field.options.maximum))

    def decode(value: Any, path: str) -> int:
        number = value
        if isinstance(number, str) and bits == 64 and re.fullmatch(r"-?[0-9]{1,20}", number):
            number = int(number)
        if isinstance(number, float) and number.is_integer():
            number = int(number)  # JSON knows one kind of number
        if not isinstance(number, int) or isinstance(number, bool):
            refuse(path, "expected an integer")
        if not lowest <= number <= highest:
            refuse(path, f"between {lowest} and {highest}")
        return number

    return decode


def _number_decoder(options: tool_pb2.Field) -> Decode:
    def decode(value: Any, path: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            refuse(path, "expected a number")
        _check_range(float(value), options, path)
        return float(value)

    return decode


def _duration_decoder(field: Field) -> Decode:
    # The class of the message's own pool: another pool's Duration is another type.
    message_class = GetMessageClass(field.message)

    def decode(value: Any, path: str) -> Message:
        match value:
            case bool():
                seconds = None
            case int() | float() if math.isfinite(value):
                seconds = float(value)
            case str() if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?s", value):
                seconds = float(value[:-1])
            case _:
                seconds = None
        if seconds is None or not 0 <= seconds < 3e11:
            refuse(path, 'expected a number of seconds, or text such as "90s"')
        _check_range(seconds, field.options, path)
        whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
        return message_class(seconds=whole, nanos=nanos)

    return decode


def _check_range(value: float, options: tool_pb2.Field, path: str) -> None:
    if options.HasField("minimum") and value < options.minimum:
        refuse(path, f"at least {options.minimum:g}")
    if options.HasField("maximum") and value > options.maximum:
        refuse(path, f"at most {options.maximum:g}")


def _timestamp_decoder(field: Field) -> Decode:
    message_class = GetMessageClass(field.message)

    def decode(value: Any, path: str) -> Message:
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError
        except (TypeError, ValueError):
            refuse(path, "expected a time such as 2026-01-31T12:00:00Z")
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return message_class(seconds=since // timedelta(seconds=1), nanos=since.microseconds * 1000)

    return decode


def _decode_bool(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        refuse(path, "expected true or false")
    return value


def _decode_bytes(value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        refuse(path, "expected base64")
