"""RPCs as resources: what is read under which URI, what changes it, and where values for its variables come from."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from virtlease.tool.v1 import tool_pb2
from virtlease_gateway.contracts.uri_template import UriTemplate, fill

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_INTEGERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)


@dataclass(frozen=True, slots=True)
class RpcResource:
    """What an RPC returns, under a URI. `content` is the field that is the content; all of the response when empty."""

    template: UriTemplate
    name: str
    title: str
    description: str
    mime_type: str
    content: str
    scope: str
    method: MethodDescriptor
    arguments: Mapping[str, str]

    def arguments_for(self, values: Mapping[str, str]) -> dict[str, str | int]:
        """The arguments of the RPC for the values of the template's variables. A URI has only text: what is of a
        number's field and reads as a number is one."""
        texts = {name: fill(text, values) for name, text in self.arguments.items()} or values
        fields = self.method.input_type.fields_by_name
        return {
            name: int(text) if fields[name].cpp_type in _INTEGERS and _INTEGER.fullmatch(text) else text
            for name, text in texts.items()
        }


@dataclass(frozen=True, slots=True)
class RpcWatch:
    """A streaming RPC whose events say that resources changed."""

    method: MethodDescriptor
    events: str
    resume_token: str
    changes: tuple[UriTemplate, ...]

    @property
    def name(self) -> str:
        """For the log."""
        return str(self.method.full_name)

    def changed_by(self, event: Message) -> Iterator[str]:
        """The URIs of what an event changes: those whose variables it has values for."""
        for template in self.changes:
            if uri := template.expand(lambda path: _value(event, path)):
                yield uri


@dataclass(frozen=True, slots=True)
class RpcCompletion:
    """An RPC that lists values for a variable of the templates of one scheme."""

    method: MethodDescriptor
    scheme: str
    variable: str
    values: str
    scope: str
    given: tuple[str, ...]

    def read(self, response: Message) -> list[str]:
        """The values."""
        items, _, path = self.values.partition(".")
        return [_value(item, path) for item in getattr(response, items)]


def resources_of(method: MethodDescriptor, comment: str) -> Iterator[RpcResource]:
    """Those that a method's options name."""
    options = method.GetOptions()
    scope = options.Extensions[tool_pb2.tool].scope
    for option in options.Extensions[tool_pb2.resource]:
        yield RpcResource(
            template=UriTemplate(option.uri),
            name=option.name,
            title=option.title or option.name.replace("_", " ").capitalize(),
            description=option.description or comment,
            mime_type=option.mime_type or "application/json",
            content=option.content,
            scope=option.scope or scope or "tools:read",
            method=method,
            arguments=dict(option.arguments),
        )


def watch_of(method: MethodDescriptor) -> RpcWatch | None:
    """What a method's option says of its events; None for a method that watches nothing."""
    option = method.GetOptions().Extensions[tool_pb2.watch]
    if not option.changes:
        return None
    return RpcWatch(method, option.events, option.resume_token, tuple(map(UriTemplate, option.changes)))


def completions_of(method: MethodDescriptor) -> Iterator[RpcCompletion]:
    """The variables that a method lists values for."""
    options = method.GetOptions()
    scope = options.Extensions[tool_pb2.tool].scope or "tools:read"
    for option in options.Extensions[tool_pb2.completion]:
        yield RpcCompletion(method, option.scheme, option.variable, option.values, scope, tuple(option.given))


def _value(message: Message, path: str) -> str:
    """A field of a message, or of the messages in it, as text; empty where one of them is absent."""
    value: Any = message
    for name in path.split("."):
        value = getattr(value, name)
    return str(value)
