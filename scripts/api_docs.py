"""The reference of the contracts, a page a service, out of the descriptor set that is committed beside the stubs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from virtlease.pool.v1 import pool_service_pb2, vm_service_pb2
from virtlease.session.v1 import session_service_pb2
from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.names import snake_case
from virtlease_gateway.contracts.comments import read_comments

PAGES: Mapping[str, ServiceDescriptor] = {
    "session.md": session_service_pb2.DESCRIPTOR.services_by_name["SessionService"],
    "pool.md": pool_service_pb2.DESCRIPTOR.services_by_name["PoolService"],
    "vm.md": vm_service_pb2.DESCRIPTOR.services_by_name["VmService"],
}
_SET = Path(__file__).parent.parent / "clients/python/virtlease/descriptors.binpb"
_EFFECTS = {
    tool_pb2.EFFECT_READ: "reads",
    tool_pb2.EFFECT_WRITE: "writes",
    tool_pb2.EFFECT_DESTRUCTIVE: "can lose data",
}
_OWN = "virtlease."


def api_pages(mark: str) -> dict[str, str]:
    """The text of each page, by its name."""
    files = descriptor_pb2.FileDescriptorSet.FromString(_SET.read_bytes()).file
    comments = {name: text for file in files for name, text in read_comments(file).items()}
    return {name: "\n".join(_page(service, comments, mark)) + "\n" for name, service in PAGES.items()}


def _page(service: ServiceDescriptor, comments: Mapping[str, str], mark: str) -> Iterator[str]:
    yield from (f"# {service.name}", mark, "", f"`{service.full_name}`. {comments[service.full_name]}", "")
    yield from ("| RPC | tool | scope |", "|---|---|---|")
    for method in service.methods:
        yield _summary(method)
    kinds: dict[str, Descriptor | EnumDescriptor] = {}
    for method in service.methods:
        yield from ("", f"## {method.name}", "", comments[method.full_name], "")
        yield f"{_message_link(method.input_type, method.client_streaming)} → " + _message_link(
            method.output_type, method.server_streaming
        )
        for message in (method.input_type, method.output_type):
            _collect(message, kinds)
    yield from ("", "# Messages")
    for name, kind in sorted(kinds.items()):
        yield from ("", f"## {_short(name)}", "", comments[name], "")
        yield from _values(kind, comments) if isinstance(kind, EnumDescriptor) else _fields(kind, comments)


def _summary(method: MethodDescriptor) -> str:
    option = method.GetOptions().Extensions[tool_pb2.tool]
    tool = ""
    if option.effect:
        aliases = f", also {', '.join(f'`{alias}`' for alias in option.aliases)}" if option.aliases else ""
        tool = f"`{snake_case(method.name)}`{aliases}: {_EFFECTS[option.effect]}"
    scope = f"`{option.scope}`" if option.scope else ""
    return f"| [{method.name}](#{method.name.lower()}) | {tool} | {scope} |"


def _fields(message: Descriptor, comments: Mapping[str, str]) -> Iterator[str]:
    if not message.fields:
        yield "No fields."
        return
    yield from ("| field | type | meaning |", "|---|---|---|")
    for field in message.fields:
        oneof = field.containing_oneof
        choice = f" One of `{oneof.name}`." if oneof is not None and not oneof.name.startswith("_") else ""
        meaning = " ".join(comments[field.full_name].split())
        yield f"| `{field.name}` | {_type(field)} | {meaning}{choice}{_limits(field)} |"


def _limits(field: FieldDescriptor) -> str:
    option = field.GetOptions().Extensions[tool_pb2.field]
    told = [
        "Required" if option.required else "",
        f"at most {option.max_length} long" if option.max_length else "",
        f"at most {option.max_items} items" if option.max_items else "",
        f"at least {option.minimum:g}" if option.HasField("minimum") else "",
        f"at most {option.maximum:g}" if option.HasField("maximum") else "",
        f"matches `{option.pattern}`" if option.pattern else "",
    ]
    found = ", ".join(part for part in told if part)
    return f" {found[0].upper()}{found[1:]}." if found else ""


def _values(enum: EnumDescriptor, comments: Mapping[str, str]) -> Iterator[str]:
    yield from ("| value | number | meaning |", "|---|---|---|")
    for value in enum.values:
        name = f"{enum.full_name}.{value.name}"
        yield f"| `{value.name}` | {value.number} | {' '.join(comments[name].split())} |"


def _type(field: FieldDescriptor) -> str:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = message.fields
        return f"map of {_single(key)} to {_single(value)}"
    return f"list of {_single(field)}" if field.is_repeated else _single(field)


def _single(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return _link(field.message_type.full_name)
    if field.enum_type is not None:
        return _link(field.enum_type.full_name)
    return descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _message_link(message: Descriptor, streams: bool) -> str:
    return ("a stream of " if streams else "") + _link(message.full_name)


def _link(name: str) -> str:
    return f"[{_short(name)}](#{_short(name).lower()})" if name.startswith(_OWN) else f"`{name}`"


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _collect(message: Descriptor, kinds: dict[str, Descriptor | EnumDescriptor]) -> None:
    """Adds the message, and all that its fields are made of."""
    if message.full_name in kinds or not message.full_name.startswith(_OWN):
        return
    if not message.GetOptions().map_entry:
        kinds[message.full_name] = message
    for field in message.fields:
        if field.enum_type is not None:
            kinds[field.enum_type.full_name] = field.enum_type
        if field.message_type is not None:
            _collect(field.message_type, kinds)
