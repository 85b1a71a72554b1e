"""Calls that can lose data: confirmed in both protocol eras, for one VM in one state, once; refused when in doubt."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from support.greenhouse import Greenhouse, compile_descriptors, serve_greenhouse, services_file
from support.identities import TOKENS, write_identities
from support.mcp_requests import modern
from support.processes import Addresses, virtlease_up

VM = "local/test"
ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])


@pytest.fixture(autouse=True)
def _running_vm(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "up" in request.fixturenames:
        addresses: Addresses = request.getfixturevalue("up")
        with httpx2.Client() as http:
            for tool in ("start_vm", "resume_vm"):
                http.post(addresses.mcp_url, **modern("tools/call", name=tool, arguments={"vm_id": VM}))


async def state(addresses: Addresses) -> str:
    async with Client(addresses.mcp_url) as client:
        return str((await client.call_tool("get_vm", {"vm_id": VM})).structured_content["vm"]["state"])


def error_of(result: Any) -> dict[str, Any]:
    assert result.is_error, result.structured_content
    error: dict[str, Any] = result.structured_content["error"]
    assert len(error["trace_id"]) == 32
    return error


class Person:
    """Answers questions, and remembers them."""

    def __init__(self, action: str, confirm: bool = True) -> None:
        self.questions: list[str] = []
        self._action = action
        self._confirm = confirm

    async def __call__(self, message: str, response_type: Any, params: Any, context: Any) -> ElicitResult[Any]:
        self.questions.append(message)
        content = {"confirm": self._confirm} if self._action == "accept" else None
        return ElicitResult(action=self._action, content=content)


@ERAS
@pytest.mark.parametrize("tool", ["force_off_vm", "destroy_vm"])
async def test_g2_a_person_confirms_in_both_eras(up: Addresses, era: str, tool: str) -> None:
    person = Person("accept")
    async with Client(up.mcp_url, mode=era, elicitation_handler=person) as client:
        session_id = (await client.call_tool("create_session", {})).structured_content["session"]["session_id"]
        done = await client.call_tool(tool, {"vm_id": VM, "session_id": session_id})
        history = (await client.call_tool("get_session", {"session_id": session_id})).structured_content
    assert done.structured_content["vm"]["state"] == "SHUT_OFF"
    # I expect one question, with what would happen and what would be lost
    (question,) = person.questions
    assert f"{VM} is cut off at once" in question
    assert "lost: whatever the guest holds in memory" in question
    assert history["session"]["values"]["_history"][-1]["outcome"] == "OK"


@ERAS
@pytest.mark.parametrize(("action", "confirm"), [("decline", True), ("cancel", True), ("accept", False)])
async def test_g2_nothing_is_done_without_a_yes(up: Addresses, era: str, action: str, confirm: bool) -> None:
    async with Client(up.mcp_url, mode=era, elicitation_handler=Person(action, confirm)) as client:
        error = error_of(await client.call_tool("force_off_vm", {"vm_id": VM}, raise_on_error=False))
    assert error["reason"] == "CONFIRMATION_DECLINED"
    assert not error["retryable"]
    assert await state(up) == "RUNNING"


@ERAS
async def test_g2_a_yes_is_for_the_state_that_was_shown(up: Addresses, era: str) -> None:
    class Slow(Person):
        async def __call__(self, *args: Any) -> ElicitResult[Any]:
            async with Client(up.mcp_url) as other:  # meanwhile somebody else suspends the VM
                await other.call_tool("suspend_vm", {"vm_id": VM})
            return await super().__call__(*args)

    async with Client(up.mcp_url, mode=era, elicitation_handler=Slow("accept")) as client:
        error = error_of(await client.call_tool("force_off_vm", {"vm_id": VM}, raise_on_error=False))
    assert error["reason"] == "STATE_CHANGED"
    assert await state(up) == "PAUSED"


async def test_nobody_is_asked_for_what_could_not_be_done(up: Addresses) -> None:
    person = Person("accept")
    async with Client(up.mcp_url, elicitation_handler=person) as client:
        gone = error_of(await client.call_tool("force_off_vm", {"vm_id": "local/nobody"}, raise_on_error=False))
        other = await client.call_tool("force_off_vm", {"vm_id": VM, "if_state": "PAUSED"}, raise_on_error=False)
        await client.call_tool("force_off_vm", {"vm_id": VM})
        off = error_of(await client.call_tool("force_off_vm", {"vm_id": VM}, raise_on_error=False))
    assert [each["reason"] for each in (gone, error_of(other), off)] == [
        "VM_NOT_FOUND", "STATE_MISMATCH", "ALREADY_IN_STATE",
    ]  # fmt: skip
    assert len(person.questions) == 1


@ERAS
async def test_g2_a_client_that_cannot_ask_gets_a_plan_and_calls_again(up: Addresses, era: str) -> None:
    async with Client(up.mcp_url, mode=era) as client:
        required = error_of(await client.call_tool("force_off_vm", {"vm_id": VM}, raise_on_error=False))
        assert required["reason"] == "CONFIRMATION_REQUIRED"
        assert required["plan"]["summary"].startswith(f"{VM} is cut off")
        assert await state(up) == "RUNNING"
        token = required["confirmation"]
        refusals = {
            "CONFIRMATION_INVALID": [
                {"vm_id": VM, "confirmation": token[:-4] + "AAAA"},
                {"vm_id": VM, "confirmation": "forged"},
                {"vm_id": VM, "confirmation": 7},
                {"vm_id": "test", "confirmation": token},  # other arguments, if the same VM
            ],
        }
        for reason, calls in refusals.items():
            for arguments in calls:
                error = error_of(await client.call_tool("force_off_vm", arguments, raise_on_error=False))
                assert error["reason"] == reason, arguments
        assert await state(up) == "RUNNING"
        confirmed = await client.call_tool("force_off_vm", {"vm_id": VM, "confirmation": token})
        assert confirmed.structured_content["vm"]["state"] == "SHUT_OFF"
        # It was for that run of the VM
        await client.call_tool("start_vm", {"vm_id": VM})
        again = await client.call_tool("force_off_vm", {"vm_id": VM, "confirmation": token}, raise_on_error=False)
    assert error_of(again)["reason"] == "STATE_CHANGED"
    assert await state(up) == "RUNNING"


@ERAS
async def test_g2_snapshots_are_confirmed_with_what_is_lost(up: Addresses, era: str) -> None:
    person = Person("accept")
    async with Client(up.mcp_url, mode=era, elicitation_handler=person) as client:
        for name in ("one", "two"):
            await client.call_tool("create_snapshot", {"vm_id": VM, "name": name})
        await client.call_tool("suspend_vm", {"vm_id": VM})
        back = await client.call_tool("revert_snapshot", {"vm_id": VM, "snapshot": "one"})
        assert back.structured_content["vm"]["state"] == "RUNNING"
        gone = await client.call_tool("delete_snapshot", {"vm_id": VM, "snapshot": "one", "with_children": True})
        assert gone.structured_content["deleted"] == ["one", "two"]
        missing = await client.call_tool("delete_snapshot", {"vm_id": VM, "snapshot": "one"}, raise_on_error=False)
    assert error_of(missing)["reason"] == "SNAPSHOT_NOT_FOUND"
    reverted, deleted = person.questions
    assert "goes back to what it was when the snapshot 'one' was made" in reverted
    assert "lost: whatever the VM has written to its disks since" in reverted
    assert "So are those made upon it: two" in deleted


@contextlib.asynccontextmanager
async def with_greenhouse(folder: Path, **settings: str) -> AsyncIterator[tuple[Addresses, Greenhouse]]:
    """Everything, and a service whose destructive RPC has no plan: only the confirmation's use stops a second call."""
    descriptors = compile_descriptors(folder)
    async with serve_greenhouse(descriptors) as (address, greenhouse):
        file = services_file(folder, address, descriptors)
        with virtlease_up(folder, VIRTLEASE_GATEWAY_SERVICES_FILE=str(file), **settings) as (addresses, _):
            yield addresses, greenhouse


async def test_g2_a_confirmation_serves_once_also_over_a_restart(tmp_path: Path) -> None:
    key, data = tmp_path / "key", tmp_path / "data"
    key.write_text("k" * 32)
    settings = {"VIRTLEASE_GATEWAY_KEY_FILE": str(key), "VIRTLEASE_SESSION_DATA_DIR": str(data)}
    elicits = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
    arguments = {"bed": 4}
    answer: dict[str, Any] = {"confirm": {"action": "accept", "content": {"confirm": True}}}
    async with with_greenhouse(tmp_path, **settings) as (addresses, greenhouse), httpx2.AsyncClient() as http:

        async def dig(meta: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
            given = {"name": "dig_over_bed", "arguments": arguments, **params}
            answered = await http.post(addresses.mcp_url, **modern("tools/call", meta, **given))
            body: dict[str, Any] = answered.json()
            return body

        asked = (await dig(elicits))["result"]
        assert asked["resultType"] == "input_required"
        sealed = asked["requestState"]
        assert "Digs a bed over" in asked["inputRequests"]["confirm"]["params"]["message"]
        # What was sealed cannot be changed, or used for another call
        tampered = await dig(elicits, inputResponses=answer, requestState=sealed[:-4] + "AAAA")
        other = await dig(elicits, inputResponses=answer, requestState=sealed, arguments={"bed": 5})
        assert tampered["error"]["code"] == other["error"]["code"] == -32602
        assert greenhouse.dug == []
        done = await dig(elicits, inputResponses=answer, requestState=sealed)
        assert done["result"]["structuredContent"]["bed"] == 4
        token = (await dig())["result"]["structuredContent"]["error"]["confirmation"]
        assert not (await dig(arguments={**arguments, "confirmation": token}))["result"]["isError"]
        assert greenhouse.dug == [4, 4]

        async def replays() -> list[str]:
            replayed = [
                await dig(elicits, inputResponses=answer, requestState=sealed),
                await dig(arguments={**arguments, "confirmation": token}),
            ]
            return [each["result"]["structuredContent"]["error"]["reason"] for each in replayed]

        assert await replays() == ["CONFIRMATION_USED", "CONFIRMATION_USED"]
    # Another process over the same store and key knows that too
    (tmp_path / "again").mkdir()
    async with with_greenhouse(tmp_path / "again", **settings) as (addresses, greenhouse), httpx2.AsyncClient() as http:
        assert await replays() == ["CONFIRMATION_USED", "CONFIRMATION_USED"]
        assert greenhouse.dug == []


async def test_g2_a_confirmation_is_its_users_own(tmp_path: Path) -> None:
    settings = {"VIRTLEASE_IDENTITY_FILE": str(write_identities(tmp_path))}
    async with with_greenhouse(tmp_path, **settings) as (addresses, greenhouse):
        async with Client(addresses.mcp_url, auth=TOKENS["alice"]) as alice:
            required = error_of(await alice.call_tool("dig_over_bed", {"bed": 4}, raise_on_error=False))
        given = {"bed": 4, "confirmation": required["confirmation"]}
        async with Client(addresses.mcp_url, auth=TOKENS["bob"]) as bob:
            error = error_of(await bob.call_tool("dig_over_bed", given, raise_on_error=False))
        assert error["reason"] == "CONFIRMATION_INVALID"
        assert greenhouse.dug == []
        async with Client(addresses.mcp_url, auth=TOKENS["alice"]) as alice:
            await alice.call_tool("dig_over_bed", given)
    assert greenhouse.dug == [4]


async def test_g2_what_the_deployment_does_not_allow_is_refused(tmp_path: Path) -> None:
    for policy, reason in (("ask", "CONFIRMATION_UNSUPPORTED"), ("refuse", None), ("none", None)):
        folder = tmp_path / policy
        folder.mkdir()
        settings = {"VIRTLEASE_GATEWAY_CONFIRMATION": policy}
        async with with_greenhouse(folder, **settings) as (up, greenhouse), Client(up.mcp_url) as client:
            names = {tool.name for tool in await client.list_tools()}
            result = await client.call_tool("dig_over_bed", {"bed": 4}, raise_on_error=False)
        assert ("dig_over_bed" in names) is (policy != "refuse")
        assert ("force_off_vm" in names) is (policy != "refuse")
        assert greenhouse.dug == ([4] if policy == "none" else [])
        if reason:
            assert error_of(result)["reason"] == reason
