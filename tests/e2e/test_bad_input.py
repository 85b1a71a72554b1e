"""What goes wrong is told in a way that says what to do: as a gRPC status, and as a tool error."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fastmcp import Client
from support.identities import TOKENS, bearer, write_identities
from support.processes import Addresses, virtlease_up

from virtlease.client import CallFailed
from virtlease.pool.v1 import vm_inspection_pb2, vm_lifecycle_pb2, vm_service_pb2_grpc
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_service_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

VM = "good/test"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_hypervisors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Addresses]:
    """One hypervisor that works, and one that nobody answers for."""
    folder = tmp_path_factory.mktemp("bad")
    file = folder / "hypervisors.yaml"
    file.write_text(
        "hypervisors:\n"
        "  - {name: good, uri: 'test:///default'}\n"
        "  - {name: gone, uri: 'qemu+tcp://127.0.0.1:9/system'}\n"
    )
    with virtlease_up(folder, VIRTLEASE_POOL_HYPERVISORS_FILE=str(file)) as (addresses, _):
        yield addresses


@pytest_asyncio.fixture(loop_scope="module")
async def client(two_hypervisors: Addresses) -> AsyncIterator[Client]:
    async with Client(two_hypervisors.mcp_url) as client:
        yield client


async def failing(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Calls a tool that fails, and returns the error."""
    result = await client.call_tool(tool, arguments, raise_on_error=False)
    assert result.is_error, result.structured_content
    error: dict[str, Any] = result.structured_content["error"]
    # Every error says in words what it says in its fields, and has the trace's id.
    assert error["message"] in result.content[0].text
    assert len(error["trace_id"]) == 32
    assert error["trace_id"] in result.content[0].text
    return error


@pytest.mark.parametrize(
    ("tool", "arguments", "reason", "says"),
    [
        ("get_vm", {"vm_id": "good/nobody"}, "VM_NOT_FOUND", "list_vms"),
        ("get_vm", {"vm_id": "good/11111111-2222-3333-4444-555555555555"}, "VM_NOT_FOUND", "list_vms"),
        ("get_vm", {"vm_id": "elsewhere/test"}, "HYPERVISOR_NOT_FOUND", "list_hypervisors"),
        ("get_vm", {"vm_id": ""}, "INVALID_ARGUMENT", "vm_id"),
        ("get_vm", {"vm_id": 7}, "INVALID_ARGUMENTS", "vm_id: expected a string"),
        ("get_vm", {"vm": VM}, "INVALID_ARGUMENTS", "did you mean vm_id?"),
        ("get_vm", {"vm_id": VM, "details": "yes"}, "INVALID_ARGUMENTS", "details: expected true or false"),
        ("resume_vm", {"vm_id": VM}, "ALREADY_IN_STATE", "already RUNNING"),
        ("start_vm", {"vm_id": VM, "if_state": "SHUT_OFF"}, "STATE_MISMATCH", "get_vm"),
        ("start_vm", {"vm_id": VM, "if_state": "OFF"}, "INVALID_ARGUMENTS", "SHUT_OFF"),
        ("get_system_info", {}, "INVALID_ARGUMENT", "say which"),
        ("suspend_vm", {"vm_id": "test"}, "VM_AMBIGUOUS", "hypervisor/name"),
        ("get_vm", {"vm_id": "gone/test"}, "HYPERVISOR_UNAVAILABLE", "try again"),
        ("get_session", {"session_id": "never-was"}, "SESSION_NOT_FOUND", "create_session"),
        ("get_vm", {"vm_id": VM, "session_id": "never-was"}, "SESSION_NOT_FOUND", "create_session"),
        ("get_vm", {"vm_id": VM, "session_id": 5}, "INVALID_ARGUMENTS", "session_id"),
        ("get_vm", {"vm_id": VM, "lease_id": "forged"}, "LEASE_NOT_FOUND", "acquire_lease"),
        ("create_session", {"idle_ttl": 0.5}, "INVALID_ARGUMENTS", "idle_ttl: at least 1"),
        ("create_session", {"idle_ttl": 1e9}, "INVALID_ARGUMENT", "idle_ttl"),
        ("create_session", {"values": {"_mine": 1}}, "INVALID_ARGUMENT", "belong to the system"),
        ("list_sessions", {"page_token": "forged"}, "INVALID_ARGUMENT", "page_token"),
        ("acquire_lease", {"hypervisor": "good", "vm_id": VM}, "INVALID_ARGUMENTS", "not together"),
    ],
)
async def test_g3_a_tool_error_says_what_to_do(
    client: Client, tool: str, arguments: dict[str, Any], reason: str, says: str
) -> None:
    error = await failing(client, tool, arguments)
    assert error["reason"] == reason
    assert says in f"{error['message']} {error.get('hint', '')}"


async def test_a_vm_in_the_wrong_state(client: Client) -> None:
    await client.call_tool("suspend_vm", {"vm_id": VM})
    try:
        error = await failing(client, "shutdown_vm", {"vm_id": VM})
    finally:
        await client.call_tool("resume_vm", {"vm_id": VM})
    assert (error["code"], error["reason"]) == ("FAILED_PRECONDITION", "WRONG_STATE")
    assert "is PAUSED; it has to be RUNNING" in error["message"]


async def test_an_expired_and_an_ended_session(client: Client) -> None:
    for how, reason in (("expire", "SESSION_EXPIRED"), ("end", "SESSION_ENDED")):
        created = (await client.call_tool("create_session", {"idle_ttl": 1})).structured_content
        session_id = created["session"]["session_id"]
        if how == "expire":
            await asyncio.sleep(1.1)
        else:
            await client.call_tool("end_session", {"session_id": session_id})
        # Nothing is done with a session that is over
        error = await failing(client, "suspend_vm", {"vm_id": VM, "session_id": session_id})
        assert error["reason"] == reason
        assert "create_session" in error["hint"]
    assert (await client.call_tool("get_vm", {"vm_id": VM})).structured_content["vm"]["state"] == "RUNNING"


async def test_a_hypervisor_that_is_down_is_listed_as_down(client: Client) -> None:
    listed = (await client.call_tool("list_hypervisors", {})).structured_content["hypervisors"]
    assert [(each["name"], each["health"]) for each in listed] == [("gone", "DOWN"), ("good", "UP")]
    assert "127.0.0.1" not in str(listed)
    vms = (await client.call_tool("list_vms", {})).structured_content
    assert [vm["vm_id"] for vm in vms["vms"]] == [VM]
    assert [each["hypervisor"] for each in vms["unreachable"]] == ["gone"]


async def test_the_same_by_grpc(two_hypervisors: Addresses) -> None:
    async with grpc.aio.insecure_channel(two_hypervisors.pool) as channel:
        stub = vm_service_pb2_grpc.VmServiceStub(channel)
        unknown = await refused(stub.GetVm(vm_inspection_pb2.GetVmRequest(vm_id="good/nobody")))
        assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "VM_NOT_FOUND")
        down = await refused(stub.GetVm(vm_inspection_pb2.GetVmRequest(vm_id="gone/test")))
        assert (down.code, down.reason) == (grpc.StatusCode.UNAVAILABLE, "HYPERVISOR_UNAVAILABLE")
        assert down.retry_after
        wrong = await refused(stub.ResumeVm(vm_lifecycle_pb2.ResumeVmRequest(vm_id=VM)))
        assert (wrong.code, wrong.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_IN_STATE")


async def test_s4_a_session_of_another_owner_does_not_exist(tmp_path: Path) -> None:
    settings = {"VIRTLEASE_IDENTITY_FILE": str(write_identities(tmp_path))}
    with virtlease_up(tmp_path, **settings) as (addresses, _):
        async with grpc.aio.insecure_channel(addresses.session) as channel:
            stub = session_service_pb2_grpc.SessionServiceStub(channel)
            created = await stub.CreateSession(calls.CreateSessionRequest(), metadata=bearer("alice"))
            session_id = created.session.session_id
            get = calls.GetSessionRequest(session_id=session_id)
            foreign = await refused(stub.GetSession(get, metadata=bearer("bob")))
            get_unknown = calls.GetSessionRequest(session_id="x" * 32)
            unknown = await refused(stub.GetSession(get_unknown, metadata=bearer("bob")))
            nobody = await refused(stub.GetSession(get))
            stranger = await refused(stub.GetSession(get, metadata=(("authorization", "Bearer guessed"),)))
            scopeless = await refused(stub.CreateSession(calls.CreateSessionRequest(), metadata=bearer("reader")))
        # Through MCP too, where the gateway passes its user on
        async with Client(addresses.mcp_url, auth=TOKENS["alice"]) as alice:
            mine = await alice.call_tool("get_vm", {"vm_id": "local/test", "session_id": session_id})
        async with Client(addresses.mcp_url, auth=TOKENS["bob"]) as bob:
            error = await failing(bob, "get_vm", {"vm_id": "local/test", "session_id": session_id})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            await asyncio.to_thread(urllib.request.urlopen, urllib.request.Request(addresses.mcp_url, b"{}"))
    assert not mine.is_error
    assert foreign.reason == unknown.reason == error["reason"] == "SESSION_NOT_FOUND"
    assert foreign.message.replace(session_id, "") == unknown.message.replace("x" * 32, "")
    assert nobody.code is stranger.code is grpc.StatusCode.UNAUTHENTICATED
    assert (scopeless.code, scopeless.metadata["scope"]) == (grpc.StatusCode.PERMISSION_DENIED, "session:write")


async def refused(call: Any) -> CallFailed:
    """What a call failed with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return CallFailed.from_rpc_error(caught.value)
