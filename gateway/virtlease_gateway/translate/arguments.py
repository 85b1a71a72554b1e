"""Arguments of a tool to a request message, checked against the contract. Every fault names its field."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from virtlease_gateway.translate import shape
from virtlease_gateway.translate.scalars import BadArguments, Decode, refuse, value_decoder
from virtlease_gateway.translate.shape import Field

K = TypeVar("K", str, int)


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
            refuse(path, "expected an object")
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
        return _map_decoder(field, _one_decoder(field.map_value))
    if field.is_list:
        return _list_decoder(field, _one_decoder(field))
    return _one_decoder(field)


def _one_decoder(field: Field) -> Decode:
    return value_decoder(field) or _message_decoder(field.message)


def _map_decoder(field: Field, decode_item: Decode) -> Decode:
    if field.message.fields_by_name["key"].type != FieldDescriptor.TYPE_STRING:
        raise TypeError(f"{field.descriptor.full_name}: JSON has only text for keys")
    most = field.options.max_items
    key_pattern = re.compile(field.options.key_pattern) if field.options.key_pattern else None

    def decode(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            refuse(path, "expected an object")
        if most and len(value) > most:
            refuse(path, f"at most {most} entries")
        for key in value:
            if key_pattern and not key_pattern.fullmatch(key):
                refuse(f"{path}[{key!r}]", f"the key has to match {key_pattern.pattern}")
        return _decode_each(((key, item, f"{path}[{key!r}]") for key, item in value.items()), decode_item)

    return decode


def _list_decoder(field: Field, decode_item: Decode) -> Decode:
    most = field.options.max_items

    def decode(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            refuse(path, "expected a list")
        if most and len(value) > most:
            refuse(path, f"at most {most} items")
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


def _unknown(name: str, known: Mapping[str, Decode]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"no such argument; did you mean {near[0]}?"
    return f"no such argument; there are {', '.join(known)}" if known else "no such argument; there are none"
