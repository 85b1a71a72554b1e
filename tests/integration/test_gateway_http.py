"""The gateway's HTTP face: probes, and names it does not go by."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import BIN, Addresses, clean_environment, running, virtlease_up


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with virtlease_up(tmp_path_factory.mktemp("up")) as (addresses, _):
        yield addresses


def get(url: str, **headers: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        body = error.read()
        return error.code, json.loads(body) if body.startswith(b"{") else {}


def test_probes_are_answered_under_any_name(up: Addresses) -> None:
    for headers in ({}, {"Host": "10.1.2.3:8000"}):
        assert get(f"http://{up.gateway}/healthz", **headers) == (200, {"status": "ok"})
        status, ready = get(f"http://{up.gateway}/readyz", **headers)
        assert (status, ready["ready"]) == (200, True)


def test_mcp_is_answered_under_its_own_names_alone(up: Addresses) -> None:
    assert get(f"http://{up.gateway}/mcp", Host="evil.example")[0] == 421
    assert get(f"http://{up.gateway}/mcp", Origin="http://evil.example")[0] == 403


def test_a_gateway_without_its_services_runs_and_is_not_ready(tmp_path: Path) -> None:
    addresses = Addresses.free()
    env = clean_environment(**addresses.settings)
    with running(tmp_path, "gateway", str(BIN / "virtlease"), "gateway", env=env) as process:
        process.wait_for("MCP gateway on")
        assert get(f"http://{addresses.gateway}/healthz")[0] == 200
        status, ready = get(f"http://{addresses.gateway}/readyz")
        assert (status, ready["ready"]) == (503, False)
        # What a tool call is told names no address
        answer = subprocess.run(
            [str(BIN / "fastmcp"), "call", addresses.mcp_url, "list_vms"], capture_output=True, text=True, check=False
        )
        assert "the service cannot be reached" in answer.stdout + answer.stderr
        assert addresses.pool not in (answer.stdout + answer.stderr)


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        ("session", "VIRTLEASE_SESSION_ADDRESS"),
        ("pool", "VIRTLEASE_POOL_ADDRESS"),
        ("gateway", "VIRTLEASE_GATEWAY_ADDRESS"),
        ("up", "VIRTLEASE_SESSION_ADDRESS"),
    ],
)
def test_a_busy_port_is_named_with_its_setting(up: Addresses, command: str, setting: str) -> None:
    ended = subprocess.run(
        [str(BIN / "virtlease"), command],
        env=clean_environment(**up.settings), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert f"{setting}: cannot listen on" in ended.stderr
    assert f"set {setting} to another address" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_settings_stop_the_start_with_one_message(tmp_path: Path) -> None:
    wrong = {
        "VIRTLEASE_SESSION_IDLE_TTL": "-1",
        "VIRTLEASE_POOL_MAX_SIZ": "3",
        "VIRTLEASE_GATEWAY_CALL_TIMEOUT": "never",
        "VIRTLEASE_NONSENSE": "x",
        "VIRTLEASE_POOL_HYPERVISORS_FILE": str(tmp_path / "missing.yaml"),
    }
    ended = subprocess.run(
        [str(BIN / "virtlease"), "up"],
        env=clean_environment(**wrong), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert all(name in ended.stderr for name in wrong)
    assert "did you mean VIRTLEASE_POOL_MAX_SIZE?" in ended.stderr
    assert "Traceback" not in ended.stderr
