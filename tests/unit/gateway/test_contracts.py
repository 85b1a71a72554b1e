"""What the gateway reads off descriptors."""

import json
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from virtlease_chassis.settings import SettingsError
from virtlease_gateway.contracts import Contract, Effect
from virtlease_gateway.services_file import POOL_SERVICES, SESSION_SERVICE, read_services
from virtlease_gateway.translate import input_schema
from virtlease_gateway.translate.shape import RecursiveMessage


def test_a_message_that_contains_itself_is_refused() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    tree = file.message_type.add(name="Tree")
    tree.field.add(name="children", number=1, type="TYPE_MESSAGE", label="LABEL_REPEATED", type_name=".t.Tree")
    contract = Contract(descriptor_pb2.FileDescriptorSet(file=[file]))
    tree_type = contract._pool.FindMessageTypeByName("t.Tree")
    with pytest.raises(RecursiveMessage, match=r"t\.Tree contains itself"):
        input_schema(tree_type, {})


def test_effects_titles_and_scopes_are_set_on_every_tool() -> None:
    contract = Contract.own()
    tools = [tool for name in (SESSION_SERVICE, *POOL_SERVICES) for tool in contract.tools(contract.service(name))]
    assert len({tool.name for tool in tools}) == len(tools)
    names = {alias for tool in tools for alias in tool.aliases} | {tool.name for tool in tools}
    assert {"start_vm", "get_system_info", "vm_info"} <= names  # the seed's commands
    for tool in tools:
        assert tool.title, tool.name
        assert tool.toolset, tool.name
        assert tool.scope.partition(":")[0] in ("session", "vm", "pool"), tool.name
        if tool.effect is Effect.READ:
            assert tool.scope.endswith(":read")
    assert contract.takes_sessions(contract.service(SESSION_SERVICE))
    assert not any(contract.takes_sessions(contract.service(name)) for name in POOL_SERVICES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services: [{name: a.B, target: t}]", "descriptors"),
        ("services: [{name: a.B, target: t, descriptors: /nowhere}]", "descriptors"),
        ("services: [{name: a.B, target: t, descriptors: FILE}]", "not a descriptor set"),
        ("services: [{name: a.B, target: t, descriptors: OWN}]", "has no service 'a.B'"),
    ],
)
def test_a_bad_services_file_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    import virtlease

    broken = tmp_path / "broken.binpb"
    broken.write_bytes(b"\xff\xff\xff")
    own = Path(virtlease.__file__).parent / "descriptors.binpb"
    file = tmp_path / "services.yaml"
    file.write_text(text.replace("FILE", str(broken)).replace("OWN", str(own)))
    with pytest.raises(SettingsError) as caught:
        read_services(file)
    assert says in str(caught.value)


def test_the_tool_surface_is_the_one_that_was_agreed_on() -> None:
    """A change here changes what agents see: `python -m unit.gateway.surface` writes it anew."""
    from unit.gateway.surface import SNAPSHOT, surface

    assert json.loads(SNAPSHOT.read_text()) == surface()
