"""Which tools are offered: by effect, by toolset, in read-only mode."""

from pathlib import Path

from fastmcp import Client
from support.processes import Addresses, virtlease_up

WRITING = {"create_session", "suspend_vm", "acquire_lease"}
READING = {
    "get_session",
    "list_sessions",
    "list_vms",
    "get_vm",
    "list_hypervisors",
    "get_pool_stats",
    "get_system_info",
    "get_vm_xml",
    "get_vm_stats",
    "get_vm_screenshot",
    "list_snapshots",
}


async def test_g5_read_only_mode_offers_no_tool_that_writes(tmp_path: Path) -> None:
    with virtlease_up(tmp_path, VIRTLEASE_GATEWAY_READ_ONLY="true") as (addresses, _):
        async with Client(addresses.mcp_url) as client:
            tools = await client.list_tools()
            assert {tool.name for tool in tools} == READING
            assert all(tool.annotations.read_only_hint for tool in tools)
            for hidden in WRITING:
                assert (await client.call_tool(hidden, {"vm_id": "local/test"}, raise_on_error=False)).is_error


async def test_toolsets_are_chosen(tmp_path: Path) -> None:
    with virtlease_up(tmp_path, VIRTLEASE_GATEWAY_TOOLSETS="vms, hypervisors") as (addresses, _):
        async with Client(addresses.mcp_url) as client:
            names = {tool.name for tool in await client.list_tools()}
    assert {"list_vms", "list_hypervisors"} <= names
    assert not names & {"create_session", "acquire_lease"}


async def test_an_alias_is_accepted_and_not_listed(up: Addresses) -> None:
    async with Client(up.mcp_url) as client:
        assert "vm_info" not in {tool.name for tool in await client.list_tools()}
        seen = (await client.call_tool("vm_info", {"vm_id": "local/test"})).structured_content
    assert seen["vm"]["name"] == "test"
