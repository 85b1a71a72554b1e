"""How long it takes from `virtlease up` to the first answered tool call. Printed, not judged."""

import time
from pathlib import Path

import pytest
from fastmcp import Client
from support.processes import virtlease_up


async def test_time_to_first_tool_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.perf_counter()
    with virtlease_up(tmp_path) as (addresses, _):
        async with Client(addresses.mcp_url) as client:
            answer = await client.call_tool("list_vms", {})
    assert answer.structured_content["vms"]
    with capsys.disabled():
        print(f"\nfrom `virtlease up` to the first answered tool call: {time.perf_counter() - started:.2f} s")
