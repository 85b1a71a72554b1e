"""The main job: an MCP client keeps a session, and changes the state of a real libvirt domain."""

from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from support.processes import BIN, Addresses, clean_environment

VM = "local/test"


async def main_job(client: Client[Any]) -> None:
    # Given a session that says how long it lives
    created = (await client.call_tool("create_session", {"idle_ttl": 600})).structured_content
    session_id = created["session"]["session_id"]
    assert created["session"]["idle_ttl"] == "600s"

    # If I look for a VM, suspend it, look at it and resume it, each time with the session
    listed = (await client.call_tool("list_vms", {"session_id": session_id})).structured_content
    assert [vm["vm_id"] for vm in listed["vms"]] == [VM]
    for command, state in (("suspend_vm", "PAUSED"), ("get_vm", "PAUSED"), ("resume_vm", "RUNNING")):
        result = await client.call_tool(command, {"vm_id": VM, "session_id": session_id})
        # I expect the state that the command leads to
        assert result.structured_content["vm"]["state"] == state

    # And the session's history to hold the commands in order
    session = (await client.call_tool("get_session", {"session_id": session_id})).structured_content["session"]
    history = session["values"]["_history"]
    assert [entry["command"] for entry in history] == ["list_vms", "suspend_vm", "get_vm", "resume_vm"]
    assert [entry["vm_id"] for entry in history] == ["", VM, VM, VM]
    assert {entry["outcome"] for entry in history} == {"OK"}
    assert len({entry["trace_id"] for entry in history}) == len(history)
    await client.call_tool("end_session", {"session_id": session_id})


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_main_job_over_http(up: Addresses, era: str) -> None:
    async with Client(up.mcp_url, mode=era) as client:
        await main_job(client)


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_main_job_over_stdio(era: str) -> None:
    transport = StdioTransport(str(BIN / "virtlease"), ["mcp"], env=clean_environment())
    async with Client(transport, mode=era) as client:
        await main_job(client)


async def test_stdio_works_on_services_that_run(up: Addresses) -> None:
    # Given services that run, with a VM that was suspended through them
    settings = {name: value for name, value in up.settings.items() if name.endswith("_TARGET")}
    transport = StdioTransport(str(BIN / "virtlease"), ["mcp"], env=clean_environment(**settings))
    async with Client(up.mcp_url) as http, Client(transport) as stdio:
        await http.call_tool("suspend_vm", {"vm_id": VM})
        try:
            # If I look at it over stdio, I expect to see that very VM
            seen = (await stdio.call_tool("get_vm", {"vm_id": VM})).structured_content
            assert seen["vm"]["state"] == "PAUSED"
        finally:
            await http.call_tool("resume_vm", {"vm_id": VM})


async def test_calls_of_an_older_client_share_a_session_without_asking_for_one(up: Addresses) -> None:
    async with Client(up.mcp_url, mode="legacy") as client:
        results = [await client.call_tool(name, {"vm_id": VM}) for name in ("get_vm", "suspend_vm", "resume_vm")]
        session_ids = {result.meta["virtlease/session_id"] for result in results}
        assert len(session_ids) == 1
        (session_id,) = session_ids
        read = (await client.call_tool("get_session", {"session_id": session_id})).structured_content["session"]
        assert [entry["command"] for entry in read["values"]["_history"]] == ["get_vm", "suspend_vm", "resume_vm"]
        # When the session is over, the next call has another
        await client.call_tool("end_session", {"session_id": session_id})
        again = await client.call_tool("get_vm", {"vm_id": VM})
        assert again.meta["virtlease/session_id"] != session_id
    # Another MCP session has one of its own, and a modern client none that it did not ask for
    async with Client(up.mcp_url, mode="legacy") as other, Client(up.mcp_url) as modern:
        theirs = await other.call_tool("get_vm", {"vm_id": VM})
        assert theirs.meta["virtlease/session_id"] not in {session_id, again.meta["virtlease/session_id"]}
        assert "virtlease/session_id" not in ((await modern.call_tool("get_vm", {"vm_id": VM})).meta or {})
