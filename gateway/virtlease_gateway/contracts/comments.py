"""Comments of a proto file, by the full name of what they stand over."""

import re
from collections.abc import Iterator

from google.protobuf import descriptor_pb2

# The numbers of the fields of FileDescriptorProto, DescriptorProto, EnumDescriptorProto and ServiceDescriptorProto
# along which a location's path leads to an element.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM, _MESSAGE_ONEOF = 2, 3, 4, 8
_ENUM_VALUE = 2
_SERVICE_METHOD = 2

Path = tuple[int, ...]


def read_comments(file: descriptor_pb2.FileDescriptorProto) -> dict[str, str]:
    """The leading comment of every element that has one, its lines joined and its paragraphs kept."""
    by_path = {
        tuple(location.path): _tidy(location.leading_comments)
        for location in file.source_code_info.location
        if location.leading_comments
    }
    return {name: by_path[path] for path, name in _elements(file) if path in by_path}


def _elements(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[Path, str]]:
    package = f"{file.package}." if file.package else ""
    for number, message in enumerate(file.message_type):
        yield from _message((_FILE_MESSAGE, number), f"{package}{message.name}", message)
    for number, enum in enumerate(file.enum_type):
        yield from _enum((_FILE_ENUM, number), f"{package}{enum.name}", enum)
    for number, service in enumerate(file.service):
        path, name = (_FILE_SERVICE, number), f"{package}{service.name}"
        yield path, name
        for index, method in enumerate(service.method):
            yield (*path, _SERVICE_METHOD, index), f"{name}.{method.name}"


def _message(path: Path, name: str, message: descriptor_pb2.DescriptorProto) -> Iterator[tuple[Path, str]]:
    yield path, name
    for number, field in enumerate(message.field):
        yield (*path, _MESSAGE_FIELD, number), f"{name}.{field.name}"
    for number, oneof in enumerate(message.oneof_decl):
        yield (*path, _MESSAGE_ONEOF, number), f"{name}.{oneof.name}"
    for number, nested in enumerate(message.nested_type):
        yield from _message((*path, _MESSAGE_NESTED, number), f"{name}.{nested.name}", nested)
    for number, enum in enumerate(message.enum_type):
        yield from _enum((*path, _MESSAGE_ENUM, number), f"{name}.{enum.name}", enum)


def _enum(path: Path, name: str, enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[tuple[Path, str]]:
    yield path, name
    for number, value in enumerate(enum.value):
        yield (*path, _ENUM_VALUE, number), f"{name}.{value.name}"


def _tidy(comment: str) -> str:
    paragraphs = re.split(r"\n[ \t]*\n", comment.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
