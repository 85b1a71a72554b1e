"""Calls that go past the SDK are answered as the SDK answers them, and whatever is odd is left to it."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.identities import TOKENS, write_identities
from support.mcp_requests import modern
from support.processes import Addresses, virtlease_up

VM = "local/test"
SLOW_WAY = {"progressToken": "p"}
"""A call that wants progress is the SDK's."""


async def post(addresses: Addresses, request: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient() as http:
        return await http.post(addresses.mcp_url, **request)


def without_what_differs(answer: dict[str, Any]) -> str:
    """The answer without the ids of its own trace and session, and without the time that has passed."""
    text = json.dumps(answer, sort_keys=True)
    error = answer["result"]["structuredContent"].get("error", {})
    for one_off in (error.get("trace_id"), answer["result"]["structuredContent"].get("vm", {}).get("cpu_time")):
        text = text.replace(one_off, "...") if one_off else text
    return text


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_vm", {"vm_id": VM}),
        ("vm_info", {"vm_id": VM, "details": True}),
        ("list_vms", {}),
        ("get_vm", {"vm_id": "local/nobody"}),
        ("get_vm", {"vm": VM}),
        ("get_vm", {"vm_id": VM, "session_id": "never-was"}),
        ("resume_vm", {"vm_id": VM}),
        ("get_session", {"session_id": "ä"}),
    ],
)
async def test_both_ways_give_the_same_answer(up: Addresses, tool: str, arguments: dict[str, Any]) -> None:
    quick = await post(up, modern("tools/call", name=tool, arguments=arguments))
    slow = await post(up, modern("tools/call", SLOW_WAY, name=tool, arguments=arguments))
    assert quick.status_code == slow.status_code == 200
    assert quick.headers["content-type"] == slow.headers["content-type"] == "application/json"
    if tool == "list_vms":
        for answer in (quick, slow):
            assert answer.json()["result"]["structuredContent"]["vms"]
        return
    assert without_what_differs(quick.json()) == without_what_differs(slow.json())


def broken(**changes: Any) -> dict[str, Any]:
    """A call that is right but for this."""
    request = modern("tools/call", name="get_vm", arguments={"vm_id": VM})
    for path, value in changes.items():
        where, _, key = path.partition("__")
        request[where] = {**request[where], key.replace("_", "-") if where == "headers" else key: value}
    return request


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (broken(headers__Mcp_Name="suspend_vm"), 400, -32020),
        (broken(headers__Mcp_Method="tools/list"), 400, -32020),
        (broken(headers__Accept="text/html"), 406, None),
        (broken(json__jsonrpc="1.0"), 400, -32600),
        (broken(json__id=None), 400, -32600),
        (broken(json__id=[1]), 400, -32600),
        (broken(json__params=[]), 400, -32600),
        (broken(json__params={"name": "get_vm", "arguments": {"vm_id": VM}}), 400, -32602),
    ],
)
async def test_what_is_odd_is_refused_by_the_sdk(
    up: Addresses, request_: dict[str, Any], status: int, code: int | None
) -> None:
    answer = await post(up, request_)
    assert answer.status_code == status
    if code is not None:
        assert answer.json()["error"]["code"] == code


async def test_arguments_that_are_no_object_are_refused(up: Addresses) -> None:
    answer = await post(up, modern("tools/call", name="get_vm", arguments=[VM]))
    assert answer.json()["error"]["code"] == -32602


async def test_integers_come_through_exactly_and_nobody_is_let_in_without_a_token(tmp_path: Path) -> None:
    settings = {"VIRTLEASE_IDENTITY_FILE": str(write_identities(tmp_path))}
    with virtlease_up(tmp_path, **settings) as (addresses, _):
        request = modern("tools/call", name="create_session", arguments={"values": {"n": 2**70}})
        assert (await post(addresses, request)).status_code == 401
        request["headers"]["Authorization"] = "Bearer guessed"
        assert (await post(addresses, request)).status_code == 401
        request["headers"]["Authorization"] = f"Bearer {TOKENS['alice']}"
        answer = await post(addresses, request)
    assert answer.json()["result"]["structuredContent"]["session"]["values"] == {"n": 2**70}
