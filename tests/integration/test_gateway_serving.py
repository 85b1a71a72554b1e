"""How the gateway serves: limits, its log, workers, and a shutdown that answers what was accepted."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import Client
from mcp.shared.exceptions import MCPError
from support.greenhouse import Greenhouse, compile_descriptors, serve_greenhouse, services_file
from support.mcp_requests import modern
from support.processes import BIN, Addresses, Running, clean_environment, running

from virtlease_gateway.asgi.rates import TokenBuckets


@contextlib.asynccontextmanager
async def gateway(folder: Path, **settings: str) -> AsyncIterator[tuple[Addresses, Running, Greenhouse]]:
    """A gateway of its own process, with the greenhouse behind it and neither of our services."""
    descriptors = compile_descriptors(folder)
    async with serve_greenhouse(descriptors) as (address, greenhouse):
        addresses = Addresses.free()
        env = clean_environment(
            **addresses.settings,
            VIRTLEASE_GATEWAY_SERVICES_FILE=str(services_file(folder, address, descriptors)),
            VIRTLEASE_LOG_FORMAT="json",
            **settings,
        )
        with running(folder, "gateway", str(BIN / "virtlease"), "gateway", env=env) as process:
            process.wait_for("MCP gateway on")
            yield addresses, process, greenhouse


async def test_a_request_is_a_line_in_the_access_log(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (addresses, process, _), httpx2.AsyncClient() as http:
        call = modern("tools/call", name="get_bed", arguments={"bed": 3})
        trace_id = "0af7651916cd43dd8448eb211c80319c"
        call["headers"]["traceparent"] = f"00-{trace_id}-b7ad6b7169203331-01"
        answer = await http.post(addresses.mcp_url, **call)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["result"]["structuredContent"]["bed"] == 3
        process.wait_for("tools/call get_bed")
        lines = [json.loads(line) for line in process.log.splitlines()]
        line = next(line for line in lines if line["logger"] == "virtlease_gateway.access")
    assert (line["mcp_method"], line["mcp_name"], line["status"], line["user"]) == (
        "tools/call", "get_bed", 200, "default/anonymous",
    )  # fmt: skip
    assert line["trace_id"] == trace_id
    assert line["duration_ms"] > 0
    assert line["bytes"] == len(answer.content)


async def test_baggage_and_the_trace_reach_the_service(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (addresses, _, greenhouse), Client(addresses.mcp_url) as client:
        meta = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "x=y", "baggage": "team=plants"}
        await client.call_tool("get_bed", {"bed": 3}, meta=meta)
        assert greenhouse.metadata["traceparent"].startswith(f"00-{'a' * 32}-")
        assert greenhouse.metadata["tracestate"] == "x=y"
        assert greenhouse.metadata["baggage"] == "team=plants"


async def test_large_and_frequent_requests_are_refused(tmp_path: Path) -> None:
    settings = {"VIRTLEASE_GATEWAY_MAX_REQUEST_BYTES": "2048", "VIRTLEASE_GATEWAY_RATE_LIMIT": "0.1"}
    async with gateway(tmp_path, **settings) as (addresses, _, _), httpx2.AsyncClient() as http:
        large = await http.post(addresses.mcp_url, **modern("tools/call", name="get_bed", arguments={"x": "y" * 3000}))
        assert large.status_code == 413
        first, second = [await http.post(addresses.mcp_url, **modern("tools/list")) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 429)
    assert 1 <= int(second.headers["retry-after"]) <= 10
    assert second.json()["error"]["message"] == "too many requests"


def test_a_bucket_fills_with_time_and_is_the_callers_own() -> None:
    now = 0.0
    buckets = TokenBuckets(2, clock=lambda: now)
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    now = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now = 100.0
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]


async def test_several_workers_serve_the_modern_era_alone(tmp_path: Path) -> None:
    async with gateway(tmp_path, VIRTLEASE_GATEWAY_WORKERS="2") as (addresses, process, _):
        async with Client(addresses.mcp_url) as client:
            assert (await client.call_tool("get_bed", {"bed": 3})).structured_content["bed"] == 3
        # A client of the older protocol is told why it is refused
        with pytest.raises((MCPError, RuntimeError), match="several workers"):
            async with Client(addresses.mcp_url, mode="legacy"):
                pass
        assert process.log.count("MCP gateway on") == 2
        assert await asyncio.to_thread(process.terminate) == 0


async def test_workers_end_when_one_cannot_start(tmp_path: Path) -> None:
    env = clean_environment(**Addresses.free().settings, VIRTLEASE_GATEWAY_WORKERS="2")
    for command, says in (("up", "only `virtlease gateway` has several workers"), ("gateway", "not a descriptor set")):
        broken = tmp_path / "services.yaml"
        broken.write_text(f"services: [{{name: a.B, target: t, descriptors: {broken}}}]")
        extra = {"VIRTLEASE_GATEWAY_SERVICES_FILE": str(broken)} if command == "gateway" else {}
        with running(tmp_path, command, str(BIN / "virtlease"), command, env={**env, **extra}) as process:
            assert await asyncio.to_thread(process.process.wait, 30) == 2
        assert says in process.log


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_p7_a_draining_gateway_answers_what_it_accepted_and_ends_streams(tmp_path: Path, era: str) -> None:
    async with gateway(tmp_path) as (addresses, process, greenhouse):
        with contextlib.suppress(httpx2.ConnectError):  # a client that says goodbye to a server that has gone
            await _drain_under_a_call(Client(addresses.mcp_url, mode=era), process, greenhouse)
    assert process.process.returncode == 0
    assert "Traceback" not in process.log


async def _drain_under_a_call(client: Client[Any], process: Running, greenhouse: Greenhouse) -> None:
    async with client:
        # Given a call under way, and with a client of the older protocol the stream on which it waits for messages
        call = asyncio.create_task(client.call_tool("get_bed", {"bed": 99}))
        await greenhouse.begun.wait()
        # If the gateway is told to stop, I expect the call to be answered
        process.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert not call.done()
        greenhouse.slow.set()
        assert (await call).structured_content["bed"] == 99
        # And the process to end soon after, whoever still listens
        started = time.monotonic()
        assert await asyncio.to_thread(process.process.wait, 20) == 0
        assert time.monotonic() - started < 10
