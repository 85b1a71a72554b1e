"""Resources, completion, prompts and news of both, for clients of both eras."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from fastmcp import Client
from mcp.client.subscriptions import listen
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference
from support.identities import TOKENS, write_identities
from support.processes import Addresses, virtlease_up

# That clients of the older protocol subscribe in the older way is the point.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

VM = "local/test"
ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])


@ERAS
async def test_vms_sessions_and_pools_are_read_under_their_uris(up: Addresses, era: str) -> None:
    async with Client(up.mcp_url, mode=era) as client:
        assert "vm://" in {str(each.uri) for each in await client.list_resources()}
        templates = {each.uri_template: each for each in await client.list_resource_templates()}
        assert {
            "vm://{hypervisor}/{name}", "vm://{hypervisor}/{name}/xml", "vm://{hypervisor}/{name}/stats",
            "vm://{hypervisor}/{name}/screenshot", "session://{session_id}", "pool://{hypervisor}",
        } == set(templates)  # fmt: skip
        assert all(each.description and each.title for each in templates.values())
        created = (await client.call_tool("create_session", {"values": {"n": 1}})).structured_content
        session_id = created["session"]["session_id"]
        read = {}
        for uri in ("vm://", f"vm://{VM}", "pool://local", f"session://{session_id}"):
            (content,) = await client.read_resource(uri)
            assert content.mime_type == "application/json"
            read[uri] = json.loads(content.text)
    assert read["vm://"]["vms"][0]["vm_id"] == read[f"vm://{VM}"]["vm"]["vm_id"] == VM
    assert read["pool://local"]["pools"][0]["hypervisor"] == "local"
    assert read[f"session://{session_id}"]["session"]["values"] == {"n": 1}


@ERAS
@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("vm://local/nobody", "VM_NOT_FOUND"),
        ("vm://nowhere/test", "HYPERVISOR_NOT_FOUND"),
        ("session://never-was", "SESSION_NOT_FOUND"),
        ("nothing://at/all", None),
        ("vm://local/test/nothing", None),
    ],
)
async def test_what_is_not_there_says_so(up: Addresses, era: str, uri: str, reason: str | None) -> None:
    async with Client(up.mcp_url, mode=era) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
    assert caught.value.error.code == -32602
    assert caught.value.error.data["uri"] == uri
    if reason:
        assert caught.value.error.data["error"]["reason"] == reason
        assert len(caught.value.error.data["error"]["trace_id"]) == 32


async def test_variables_are_completed_from_what_there_is(up: Addresses) -> None:
    template = ResourceTemplateReference(type="ref/resource", uri="vm://{hypervisor}/{name}")
    prompt = PromptReference(type="ref/prompt", name="diagnose_boot")
    async with Client(up.mcp_url) as client:
        for reference, argument, typed, expected in (
            (template, "hypervisor", "lo", ["local"]),
            (template, "name", "", ["test"]),
            (template, "name", "xyz", []),
            (template, "unheard_of", "", []),
            (prompt, "vm_id", "test", [VM]),
        ):
            done = await client.complete(reference, {"name": argument, "value": typed})
            assert done.values == expected, (argument, typed)


async def test_prompts_name_only_what_is_offered(up: Addresses, tmp_path: Path) -> None:
    async with Client(up.mcp_url) as client:
        tools = {tool.name for tool in await client.list_tools()}
        prompts = {prompt.name: prompt for prompt in await client.list_prompts()}
        assert set(prompts) == {"change_safely", "diagnose_boot", "review_capacity"}
        for name, prompt in prompts.items():
            assert prompt.description
            given = {argument.name: f"<{argument.name}>" for argument in prompt.arguments or []}
            text = (await client.get_prompt(name, given)).messages[0].content.text
            assert all(value in text for value in given.values())
            called = set(re.findall(r"`((?:get|list|create|update)_[a-z_]+)`", text))
            assert called
            assert called <= tools
        with pytest.raises(MCPError):
            await client.get_prompt("diagnose_boot", {})
    with virtlease_up(tmp_path, VIRTLEASE_GATEWAY_READ_ONLY="true") as (addresses, _):
        async with Client(addresses.mcp_url) as client:
            assert {prompt.name for prompt in await client.list_prompts()} == {"diagnose_boot", "review_capacity"}


@contextlib.asynccontextmanager
async def news_of(url: str, era: str, uri: str, token: str | None = None) -> AsyncIterator[asyncio.Event]:
    """Subscribes to a URI, in the way of the era; the event is set when its change is told."""
    told = asyncio.Event()

    async def on_message(message: Any) -> None:
        if isinstance(message, mcp_types.ResourceUpdatedNotification) and message.params.uri == uri:
            told.set()

    async def read(news: Any) -> None:
        async for event in news:
            if event.uri == uri:
                told.set()

    async with Client(url, mode=era, auth=token, message_handler=on_message) as client:
        if era == "legacy":
            await client.session.subscribe_resource(uri)
            yield told
            await client.session.unsubscribe_resource(uri)
            return
        async with listen(client.session, resource_subscriptions=[uri]) as news:
            assert news.honored.resource_subscriptions == [uri]
            reader = asyncio.create_task(read(news))
            yield told
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


async def hears(told: asyncio.Event, change: Callable[[], Awaitable[Any]], attempts: int = 20) -> bool:
    """Whether it is told of a change. A watch begins a moment after the subscription: the change is made until then."""
    for _ in range(attempts):
        await change()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), 0.3)
            return True
    return False


@ERAS
async def test_a_subscriber_hears_of_changes_of_a_session(up: Addresses, era: str) -> None:
    async with Client(up.mcp_url) as client:
        created = (await client.call_tool("create_session", {})).structured_content
        session_id = created["session"]["session_id"]

        async def change() -> None:
            arguments = {"session_id": session_id, "mutations": [{"key": "n", "increment": 1}]}
            await client.call_tool("update_session", arguments)

        async with news_of(up.mcp_url, era, f"session://{session_id}") as told:
            assert await hears(told, change)
            # And again
            told.clear()
            assert await hears(told, change)
        told.clear()
        assert not await hears(told, change, attempts=2)  # it no longer wants to


@ERAS
async def test_s4_nobody_hears_of_another_owners_session(tmp_path: Path, era: str) -> None:
    settings = {"VIRTLEASE_IDENTITY_FILE": str(write_identities(tmp_path))}
    with virtlease_up(tmp_path, **settings) as (addresses, _):
        async with Client(addresses.mcp_url, auth=TOKENS["alice"]) as alice:
            created = (await alice.call_tool("create_session", {})).structured_content
            session_id = created["session"]["session_id"]
            uri = f"session://{session_id}"

            async def change() -> None:
                arguments = {"session_id": session_id, "mutations": [{"key": "n", "increment": 1}]}
                await alice.call_tool("update_session", arguments)

            async with (
                news_of(addresses.mcp_url, era, uri, TOKENS["bob"]) as told_bob,
                news_of(addresses.mcp_url, era, uri, TOKENS["alice"]) as told_alice,
            ):
                assert await hears(told_alice, change)
                assert not told_bob.is_set()


@ERAS
async def test_a_subscriber_hears_of_what_happens_to_a_vm(up: Addresses, era: str) -> None:
    async with Client(up.mcp_url) as client:
        turns = itertools.cycle(("suspend_vm", "resume_vm"))

        async def change() -> None:
            await client.call_tool(next(turns), {"vm_id": VM})

        try:
            for uri in (f"vm://{VM}", "vm://"):
                async with news_of(up.mcp_url, era, uri) as told:
                    assert await hears(told, change)
            async with news_of(up.mcp_url, era, "vm://local/another") as told:
                assert not await hears(told, change, attempts=2)
        finally:
            await client.call_tool("resume_vm", {"vm_id": VM}, raise_on_error=False)


async def test_the_definition_the_figures_and_the_screen_of_a_vm_are_read(up: Addresses) -> None:
    async with Client(up.mcp_url) as client:
        (xml,) = await client.read_resource(f"vm://{VM}/xml")
        assert xml.mime_type == "application/xml"
        assert "<name>test</name>" in xml.text
        (stats,) = await client.read_resource(f"vm://{VM}/stats")
        assert json.loads(stats.text)["vm_id"] == VM
        refused, screen = None, []
        try:
            screen = await client.read_resource(f"vm://{VM}/screenshot")
        except MCPError as error:
            refused = error
    if refused:  # a driver without screens
        assert refused.error.data["error"]["reason"] == "UNSUPPORTED_BY_HYPERVISOR"
    else:
        assert base64.b64decode(screen[0].blob).startswith(b"\x89PNG")
