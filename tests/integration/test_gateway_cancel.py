"""A call that nobody waits for any more is cancelled behind the gateway too, in both eras of the protocol."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastmcp import Client
from support.greenhouse import Greenhouse, compile_descriptors, serve_greenhouse, services_file
from support.processes import Addresses, virtlease_up


@contextlib.asynccontextmanager
async def gateway(folder: Path, **settings: str) -> AsyncIterator[tuple[Addresses, Greenhouse]]:
    descriptors = compile_descriptors(folder)
    async with serve_greenhouse(descriptors) as (address, greenhouse):
        file = services_file(folder, address, descriptors)
        with virtlease_up(folder, VIRTLEASE_GATEWAY_SERVICES_FILE=str(file), **settings) as (addresses, _):
            yield addresses, greenhouse


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_g4_a_cancelled_call_is_cancelled_at_the_service(tmp_path: Path, era: str) -> None:
    async with gateway(tmp_path) as (addresses, greenhouse), Client(addresses.mcp_url, mode=era) as client:
        created = (await client.call_tool("create_session", {})).structured_content
        session_id = created["session"]["session_id"]
        # Given a call that takes long
        arguments = {"bed": 99, "session_id": session_id}
        call = asyncio.create_task(client.call_tool("get_bed", arguments))
        await greenhouse.begun.wait()
        # If its caller gives up
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        # I expect the service to be told, and the session to remember it
        await asyncio.wait_for(greenhouse.cancelled.wait(), 10)
        async with Client(addresses.mcp_url) as other:
            async with asyncio.timeout(10):
                while not (history := await _history(other, session_id)):
                    await asyncio.sleep(0.05)
        assert history == [("get_bed", "CANCELLED")]


async def test_g4_a_call_that_takes_too_long_is_cancelled_at_the_service(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path, VIRTLEASE_GATEWAY_CALL_TIMEOUT="0.5") as (addresses, greenhouse),
        Client(addresses.mcp_url) as client,
    ):
        result = await client.call_tool("get_bed", {"bed": 99}, raise_on_error=False)
        await asyncio.wait_for(greenhouse.cancelled.wait(), 10)
    error = result.structured_content["error"]
    assert (error["code"], error["retryable"]) == ("DEADLINE_EXCEEDED", False)
    assert "whether the call had its effect is not known" in error["message"]


async def _history(client: Client, session_id: str) -> list[tuple[str, str]]:
    session = (await client.call_tool("get_session", {"session_id": session_id})).structured_content["session"]
    return [(entry["command"], entry["outcome"]) for entry in session["values"].get("_history", [])]
