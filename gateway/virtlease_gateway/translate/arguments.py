"""Arguments of a tool to a request message, checked against the contract. Every fault names its field."""

import base64
import binascii
import difflib
import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from virtlease.tool.v1 import tool_pb2
from virtlease_gateway.translate import shape
from virtlease_gateway.translate.shape import Field

K = TypeVar("K", str, int)

Decode = Callable[[Any, str], Any]
"""Takes a JSON value and the path of its field; returns what the message takes. Raises BadArguments."""


class BadArguments(ValueError):
    """Raised when arguments do not fit; `faults` has what is wrong by the path of the field."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {fault}" for path, fault in faults))
        self.faults = faults


class ArgumentDecoder:
    """Decodes the arguments of one tool. Made once, from its request's descriptor."""

    def __init__(self, message: Descriptor) -> None:
        self._decode = _message_decoder(message)

    def decode(self, arguments: dict[str, Any]) -> Message:
        """The request. Raises BadArguments with all faults."""
        request: Message = self._decode(arguments, "")
        return request


def _message_decoder(message: Descriptor) -> Decode:
    found = shape.input_shape(message)
    message_class = GetMessageClass(message)
    decoders = {field.name: _field_decoder(field) for field in found.fields}
    required = tuple(field.name for field in found.fields if field.options.required)

    def decode(value: Any, path: str) -> Message:
        if not isinstance(value, dict):
            _refuse(path, "expected an object")
        inside = f"{path}." if path else ""
        faults: list[tuple[str, str]] = []
        decoded: dict[str, Any] = {}
        for name, item in value.items():
            decoder = decoders.get(name)
            if decoder is None:
                faults.append((f"{inside}{name}", _unknown(name, decoders)))
            elif item is not None:
                try:
                    decoded[name] = decoder(item, f"{inside}{name}")
                except BadArguments as error:
                    faults += error.faults
        faults += ((f"{inside}{name}", "required") for name in required if value.get(name) is None)
        for choice in found.choices:
            given = [name for name in choice if value.get(name) is not None]
            if len(given) > 1:
                faults.append((f"{inside}{given[1]}", f"not together with {given[0]}"))
            elif not given and path and len(found.choices) == 1:
                faults.append((path, f"give one of {', '.join(choice)}"))
        if not faults:
            try:
                return message_class(**decoded)
            except (ValueError, TypeError, UnicodeEncodeError) as error:  # such as a lone surrogate
                faults.append((path or "arguments", str(error)))
        raise BadArguments(faults)

    return decode


def _field_decoder(field: Field) -> Decode:
    if field.is_map:
        return _map_decoder(field, _value_decoder(field.map_value))
    if field.is_list:
        return _list_decoder(field, _value_decoder(field))
    return _value_decoder(field)


def _map_decoder(field: Field, decode_item: Decode) -> Decode:
    most = field.options.max_items
    key_pattern = re.compile(field.options.key_pattern) if field.options.key_pattern else None

    def decode(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            _refuse(path, "expected an object")
        if most and len(value) > most:
            _refuse(path, f"at most {most} entries")
        for key in value:
            if key_pattern and not key_pattern.fullmatch(key):
                _refuse(f"{path}[{key!r}]", f"the key has to match {key_pattern.pattern}")
        return _decode_each(((key, item, f"{path}[{key!r}]") for key, item in value.items()), decode_item)

    return decode


def _list_decoder(field: Field, decode_item: Decode) -> Decode:
    most = field.options.max_items

    def decode(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            _refuse(path, "expected a list")
        if most and len(value) > most:
            _refuse(path, f"at most {most} items")
        items = ((number, item, f"{path}[{number}]") for number, item in enumerate(value))
        return list(_decode_each(items, decode_item).values())

    return decode


def _decode_each(items: Iterable[tuple[K, Any, str]], decode_item: Decode) -> dict[K, Any]:
    """Decodes values by their keys and paths. Raises BadArguments with the faults of all of them."""
    decoded: dict[K, Any] = {}
    faults: list[tuple[str, str]] = []
    for key, item, path in items:
        try:
            decoded[key] = decode_item(item, path)
        except BadArguments as error:
            faults += error.faults
    if faults:
        raise BadArguments(faults)
    return decoded


def _value_decoder(field: Field) -> Decode:
    descriptor = field.descriptor
    if field.role == tool_pb2.ROLE_JSON_TEXT:
        return _json_text_decoder(field.options.max_length)
    if descriptor.enum_type is not None:
        return _enum_decoder(shape.enum_names(descriptor.enum_type))
    if descriptor.message_type is not None:
        match descriptor.message_type.full_name:
            case shape.DURATION:
                return _duration_decoder(field)
            case shape.TIMESTAMP:
                return _timestamp_decoder(field)
        return _message_decoder(descriptor.message_type)
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
            _refuse(path, "expected a string")
        if most and len(value) > most:
            _refuse(path, f"at most {most} characters")
        if pattern and (value or options.required) and not pattern.fullmatch(value):
            _refuse(path, f"has to match {pattern.pattern}")
        return value

    return decode


def _json_text_decoder(most: int) -> Decode:
    def decode(value: Any, path: str) -> str:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            size = len(text.encode())
        except (ValueError, RecursionError) as error:
            _refuse(path, f"not a JSON value: {error}")
        if most and size > most:
            _refuse(path, f"at most {most} bytes as JSON")
        return text

    return decode


def _enum_decoder(names: dict[str, int]) -> Decode:
    def decode(value: Any, path: str) -> int:
        if isinstance(value, str) and value in names:
            return names[value]
        _refuse(path, f"expected one of {', '.join(names)}")

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
            _refuse(path, "expected an integer")
        if not lowest <= number <= highest:
            _refuse(path, f"between {lowest} and {highest}")
        return number

    return decode


def _number_decoder(options: tool_pb2.Field) -> Decode:
    def decode(value: Any, path: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            _refuse(path, "expected a number")
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
            _refuse(path, 'expected a number of seconds, or text such as "90s"')
        _check_range(seconds, field.options, path)
        whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
        return message_class(seconds=whole, nanos=nanos)

    return decode


def _check_range(value: float, options: tool_pb2.Field, path: str) -> None:
    if options.HasField("minimum") and value < options.minimum:
        _refuse(path, f"at least {options.minimum:g}")
    if options.HasField("maximum") and value > options.maximum:
        _refuse(path, f"at most {options.maximum:g}")


def _timestamp_decoder(field: Field) -> Decode:
    message_class = GetMessageClass(field.message)

    def decode(value: Any, path: str) -> Message:
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError
        except (TypeError, ValueError):
            _refuse(path, "expected a time such as 2026-01-31T12:00:00Z")
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return message_class(seconds=since // timedelta(seconds=1), nanos=since.microseconds * 1000)

    return decode


def _decode_bool(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        _refuse(path, "expected true or false")
    return value


def _decode_bytes(value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        _refuse(path, "expected base64")


def _unknown(name: str, known: dict[str, Decode]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"no such argument; did you mean {near[0]}?"
    return f"no such argument; there are {', '.join(known)}" if known else "no such argument; there are none"


def _refuse(path: str, fault: str) -> NoReturn:
    raise BadArguments([(path or "arguments", fault)])
