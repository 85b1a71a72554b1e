"""Functions that keep their state between calls, by themselves and as tools of a FastMCP server."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.client.auth import BearerAuth
from fastmcp.exceptions import ToolError
from fastmcp.server.auth import StaticTokenVerifier
from fastmcp.server.dependencies import get_context
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult
from support.http_server import over_http

from virtlease import (
    NotJson,
    SessionEnded,
    SessionManager,
    aio,
    last_session,
    stateful_tool,
)


@pytest.fixture(scope="module")
def manager() -> Iterator[SessionManager]:
    with SessionManager() as found:
        yield found


@pytest.fixture
def tool(manager) -> Any:
    @stateful_tool(ttl_seconds=1800, manager=manager)
    async def manage_vm(session, vm_id: str, action: str = "look", fail: bool = False) -> dict[str, Any]:
        """Manage a VM.

        Args:
            vm_id: the VM.
        """
        if "vm_state" not in session:
            session["vm_state"] = "initialized"
        if action == "start":
            session["vm_state"] = "running"
        session.setdefault("log", []).append(action)
        if fail:
            raise RuntimeError("it failed")
        return {"vm_id": vm_id, "state": session["vm_state"], "ttl": session.ttl_remaining, "log": session["log"]}

    return manage_vm


# By itself


async def test_a_call_without_an_id_begins_a_session_that_the_next_goes_on_with(tool, manager) -> None:
    assert last_session(tool) is None
    first = await tool("vm-1", action="start")
    assert (first["vm_id"], first["state"]) == ("vm-1", "running")
    assert 1790 < first["ttl"] <= 1800
    session_id = last_session(tool)
    assert (await tool("vm-1", session_id=session_id))["log"] == ["start", "look"]
    assert manager.get(session_id).data == {"vm_state": "running", "log": ["start", "look"]}
    await tool("vm-2", session_id="of-my-choice")
    assert manager.get("of-my-choice")["vm_state"] == "initialized"


async def test_nothing_is_written_when_it_raises(tool, manager) -> None:
    await tool("vm-1", session_id="fails")
    with pytest.raises(RuntimeError):
        await tool("vm-1", action="start", session_id="fails", fail=True)
    assert manager.get("fails").data == {"vm_state": "initialized", "log": ["look"]}


async def test_a_session_that_nobody_was_told_of_does_not_stay_when_it_raises(tool, manager) -> None:
    with pytest.raises(RuntimeError):
        await tool("vm-1", fail=True)
    for _ in range(100):
        if manager.get(last_session(tool)) is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it stayed")


async def test_50_calls_at_once_keep_50_appends(manager) -> None:
    @stateful_tool(manager=manager)
    async def note(session, number: int) -> None:
        if "log" not in session:
            session["log"] = []
        await asyncio.sleep(0)
        session["log"].append(number)

    await asyncio.gather(*(note(number, session_id="50-at-once") for number in range(50)))
    assert sorted(manager.get("50-at-once")["log"]) == list(range(50))


async def test_a_conflict_is_raised_and_writes_nothing(manager) -> None:
    meet = asyncio.Barrier(2)

    @stateful_tool(manager=manager)
    async def count(session) -> None:
        session["n"] = session.get("n", 0) + 1
        await meet.wait()

    results = await asyncio.gather(*(count(session_id="conflict") for _ in range(2)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "SessionConflict"]
    assert manager.get("conflict")["n"] == 1


async def test_each_task_is_told_its_own_session(tool) -> None:
    async def own(name: str) -> str | None:
        await tool("vm", session_id=name)
        await asyncio.sleep(0.01)
        return last_session(tool)

    assert await asyncio.gather(*(own(f"task-{n}") for n in range(5))) == [f"task-{n}" for n in range(5)]


def test_an_ordinary_function_works_too_from_many_threads(manager) -> None:
    @stateful_tool(manager=manager)
    def note(session, number: int) -> int:
        session.setdefault("log", []).append(number)
        return len(session["log"])

    assert note(1) == 1
    assert note(2, session_id=last_session(note)) == 2
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: note(number, session_id="by-threads"), range(20)))
    assert sorted(manager.get("by-threads")["log"]) == list(range(20))


async def test_a_twin_manager_and_values_that_are_not_json() -> None:
    async with aio.SessionManager() as twin:

        @stateful_tool(manager=twin)
        async def bad(session) -> None:
            session["a"] = 1
            session["b"] = object()

        with pytest.raises(NotJson):
            await bad(session_id="bad")
        found = await twin.get("bad")
        assert found is not None
        assert found.data == {}


def test_wrong_functions_are_refused_where_they_are_decorated() -> None:
    with pytest.raises(TypeError, match="the first parameter of a stateful tool is `session`"):

        @stateful_tool()
        def first(vm_id: str) -> None: ...

    with pytest.raises(TypeError, match="leave it out"):

        @stateful_tool()
        def second(session, session_id: str) -> None: ...

    with pytest.raises(TypeError, match="decorate it"):
        last_session(print)


async def test_a_session_that_was_ended_meanwhile_says_so(manager) -> None:
    @stateful_tool(manager=manager)
    async def slow(session) -> None:
        session["a"] = 1
        manager.end_session(session.id)

    with pytest.raises(SessionEnded):
        await slow(session_id="ended-meanwhile")


# As a tool of FastMCP


def server(tool: Any, **options: Any) -> FastMCP:
    mcp = FastMCP("test", **options)
    mcp.tool(tool)
    return mcp


async def test_it_presents_itself_with_a_session_id_and_a_lifetime(tool) -> None:
    async with Client(server(tool)) as client:
        (listed,) = await client.list_tools()
    assert listed.name == "manage_vm"
    assert set(listed.input_schema["properties"]) == {"vm_id", "action", "fail", "session_id"}
    assert listed.input_schema["required"] == ["vm_id"]
    assert "to go on with" in listed.input_schema["properties"]["session_id"]["description"]
    assert "30 minutes after each use" in listed.description
    assert listed.output_schema is None


async def test_in_the_modern_era_the_id_comes_with_the_result_and_goes_along(tool) -> None:
    async with over_http(server(tool)) as url, Client(url) as client:
        first = (await client.call_tool("manage_vm", {"vm_id": "vm", "action": "start"})).structured_content
        session_id = first.pop("session_id")
        assert first["log"] == ["start"]
        again = (await client.call_tool("manage_vm", {"vm_id": "vm", "session_id": session_id})).structured_content
        assert (again["state"], again["log"]) == ("running", ["start", "look"])
        assert "session_id" not in again
        other = (await client.call_tool("manage_vm", {"vm_id": "vm"})).structured_content
        assert other["session_id"] != session_id


async def test_in_the_older_era_the_clients_own_session_is_used(tool) -> None:
    async with over_http(server(tool)) as url:
        async with Client(url, mode="legacy") as client:
            first = (await client.call_tool("manage_vm", {"vm_id": "vm", "action": "start"})).structured_content
            again = (await client.call_tool("manage_vm", {"vm_id": "vm"})).structured_content
            assert (first["log"], again["log"]) == (["start"], ["start", "look"])
            assert "session_id" not in first
        async with Client(url, mode="legacy") as other:
            assert (await other.call_tool("manage_vm", {"vm_id": "vm"})).structured_content["log"] == ["look"]


async def test_a_client_may_not_choose_an_id_and_is_told_what_to_do(tool, manager) -> None:
    manager.get_or_create("of-somebody")
    async with over_http(server(tool)) as url, Client(url) as client:
        for guessed in ("never-was", "of-somebody"):
            with pytest.raises(ToolError, match=r"SESSION_NOT_FOUND.*leave session_id out to begin a new"):
                await client.call_tool("manage_vm", {"vm_id": "vm", "session_id": guessed})


async def test_a_session_is_its_users_own(tool) -> None:
    tokens = {name: {"client_id": name, "scopes": []} for name in ("alice", "bob")}
    async with over_http(server(tool, auth=StaticTokenVerifier(tokens))) as url:
        async with Client(url, auth=BearerAuth("alice")) as alice:
            begun = (await alice.call_tool("manage_vm", {"vm_id": "vm"})).structured_content["session_id"]
            await alice.call_tool("manage_vm", {"vm_id": "vm", "session_id": begun})
        async with Client(url, auth=BearerAuth("bob")) as bob:
            with pytest.raises(ToolError, match="SESSION_NOT_FOUND"):
                await bob.call_tool("manage_vm", {"vm_id": "vm", "session_id": begun})


@pytest.mark.parametrize("result", ["text", 5, None, ["a", 1]])
async def test_a_result_of_any_type_comes_with_the_id(manager, result: Any) -> None:
    @stateful_tool(manager=manager)
    def answer(session) -> Any:
        return result

    async with Client(server(answer)) as client:
        found = (await client.call_tool("answer", {})).structured_content
        assert found["result"] == result
        assert found["session_id"]


async def test_the_conflict_of_a_tool_reaches_the_client(manager) -> None:
    meet = asyncio.Barrier(2)

    @stateful_tool(manager=manager)
    async def count(session) -> int:
        session["n"] = session.get("n", 0) + 1
        if session["n"] > 1:
            await meet.wait()
        return int(session["n"])

    async with Client(server(count)) as client:
        session_id = (await client.call_tool("count", {})).structured_content["session_id"]
        calls = (client.call_tool("count", {"session_id": session_id}) for _ in range(2))
        results = await asyncio.gather(*calls, return_exceptions=True)
    (failed,) = [result for result in results if isinstance(result, ToolError)]
    assert "SESSION_CONFLICT" in str(failed)


async def test_a_question_writes_nothing_and_its_answer_is_a_call_of_its_own(manager) -> None:
    @stateful_tool(manager=manager)
    async def careful(session) -> Any:
        session.setdefault("log", []).append("called")
        context = get_context()
        if not context.input_responses:
            form = ElicitRequestFormParams(message="Sure?", requested_schema={"type": "object", "properties": {}})
            ask = ElicitRequest(method="elicitation/create", params=form)
            return InputRequiredResult(result_type="input_required", input_requests={"sure": ask})
        return session["log"]

    async def accept(*_: Any) -> dict[str, Any]:
        return {}

    async with over_http(server(careful)) as url, Client(url, elicitation_handler=accept) as client:
        assert (await client.call_tool("careful", {})).structured_content["result"] == ["called"]
