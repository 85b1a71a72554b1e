"""A session holds a lease when it is asked to: its calls run on that connection, which is given back with it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from fastmcp import Client
from support.processes import virtlease_up

VM = "local/test"


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a pool that has one connection, for which nobody waits long."""
    settings = {
        "VIRTLEASE_POOL_MAX_SIZE": "1",
        "VIRTLEASE_POOL_ACQUIRE_TIMEOUT": "0.3",
        "VIRTLEASE_GATEWAY_LEASES_PER_OWNER": "1",
    }
    with virtlease_up(tmp_path, **settings) as (addresses, _):
        async with Client(addresses.mcp_url) as client:
            yield client


async def new_session(client: Client) -> str:
    return str((await client.call_tool("create_session", {})).structured_content["session"]["session_id"])


async def outcome(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments, raise_on_error=False)
    return str(result.structured_content["error"]["reason"]) if result.is_error else "OK"


async def test_calls_of_a_session_use_the_lease_that_it_holds(client: Client) -> None:
    session_id = await new_session(client)
    # Given a session that holds the only connection
    assert await outcome(client, "acquire_lease", hypervisor="local", ttl=30, session_id=session_id) == "OK"
    # If it calls, reading and writing, by VM and by hypervisor, I expect its calls to run on that
    for tool, arguments in (
        ("get_vm", {"vm_id": VM}), ("suspend_vm", {"vm_id": VM}), ("resume_vm", {"vm_id": VM}),
        ("get_system_info", {"hypervisor": "local"}),
    ):  # fmt: skip
        assert await outcome(client, tool, **arguments, session_id=session_id) == "OK"
    # And nobody else to get it
    assert await outcome(client, "get_vm", vm_id=VM) == "ACQUIRE_TIMEOUT"
    assert await outcome(client, "get_vm", vm_id=VM, session_id=await new_session(client)) == "ACQUIRE_TIMEOUT"
    # Nor the owner's sessions to hold more than they may
    assert await outcome(client, "acquire_lease", hypervisor="local", session_id=session_id) == "TOO_MANY_HELD_LEASES"
    # When the session ends, the connection is free
    await client.call_tool("end_session", {"session_id": session_id})
    async with asyncio.timeout(10):
        while await outcome(client, "get_vm", vm_id=VM) != "OK":
            await asyncio.sleep(0.05)
    # And another session may hold it
    assert await outcome(client, "acquire_lease", hypervisor="local", session_id=await new_session(client)) == "OK"


async def test_a_lease_that_is_given_back_or_over_is_no_longer_held(client: Client) -> None:
    session_id = await new_session(client)
    granted = await client.call_tool("acquire_lease", {"hypervisor": "local", "session_id": session_id})
    lease_id = granted.structured_content["lease"]["lease_id"]
    assert await outcome(client, "release_lease", lease_id=lease_id, session_id=session_id) == "OK"
    assert await outcome(client, "get_vm", vm_id=VM) == "OK"
    assert await outcome(client, "get_vm", vm_id=VM, session_id=session_id) == "OK"
    # One that nobody used in time is gone: what reads goes on without it, what writes is refused once
    for tool, expected in (("get_vm", "OK"), ("suspend_vm", "HELD_LEASE_OVER")):
        assert await outcome(client, "acquire_lease", hypervisor="local", ttl=3, session_id=session_id) == "OK"
        async with asyncio.timeout(20):
            while await outcome(client, "get_vm", vm_id=VM) != "OK":
                await asyncio.sleep(0.3)
        assert await outcome(client, tool, vm_id=VM, session_id=session_id) == expected
    assert await outcome(client, "suspend_vm", vm_id=VM, session_id=session_id) == "OK"
    assert await outcome(client, "resume_vm", vm_id=VM, session_id=session_id) == "OK"
    # The history says nothing of the lease's id
    session = (await client.call_tool("get_session", {"session_id": session_id})).structured_content["session"]
    assert lease_id not in str(session["values"]["_history"])
