"""What the seed promises runs as it is written, and so does the page that explains it: embedded, and against services.

Only the modules that the seed imports from are replaced by those that have come to be.
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.processes import virtlease_apart
from support.samples import samples

from virtlease import aio
from virtlease.client.stateful import tool
from virtlease.pool.v1 import vm_pb2

VM = "local/test"
SESSION = "of-the-seed"
IMPORTS = {
    "fastmcp.state": "virtlease",
    "virtualization-mcp.decorators": "virtlease",
    "virtualization-mcp.connection": "virtlease.aio",
}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The services as processes of their own, and the settings by which a program finds them."""
    with virtlease_apart(tmp_path_factory.mktemp("apart")) as (addresses, _):
        yield {
            "VIRTLEASE_CLIENT_SESSION_TARGET": addresses.session,
            "VIRTLEASE_CLIENT_POOL_TARGET": addresses.pool,
        }


@pytest.fixture(params=["embedded", "services"])
def _somewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is pointed at services by its environment alone."""
    if request.param == "services":
        for name, value in request.getfixturevalue("services").items():
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(tool, "_manager", None)  # as in a process that begins


async def force_off(pool: aio.ConnectionPool) -> None:
    """The seed starts a VM; libvirt's test driver begins with one that runs."""
    async with pool.connection(VM) as connection:
        await connection.execute_command("force_off_vm")


@pytest.mark.usefixtures("_somewhere")
async def test_the_samples_of_the_seed_run_as_written(capsys) -> None:
    sessions, manage, pool, workflow, managing, using = samples("seed.md")
    names: dict[str, Any] = {"session_id": SESSION, "vm_id": VM, "datetime": datetime}

    await sessions.run(names, IMPORTS)
    assert names["session"].data == {"last_operation": "vm_start", "vm_id": "vm-123"}

    await manage.run(names, IMPORTS)
    started = await names["manage_vm"](VM, action="start", session_id="vm-session")
    assert (started["vm_id"], started["state"]) == (VM, "running")
    assert 1795 < started["session_ttl"] <= 1800
    assert (await names["manage_vm"](VM, "look", session_id="vm-session"))["state"] == "running"

    await pool.run(names, IMPORTS)
    assert names["result"].vm.state == vm_pb2.VM_STATE_RUNNING
    (stats,) = await names["connection_pool"].stats()
    assert stats.leased == 0

    await workflow.run(names, IMPORTS)
    await names["vm_workflow"](VM, "start", session_id="flow")
    done = await names["vm_workflow"](VM, "stop", session_id="flow")
    assert [entry["command"] for entry in done["history"]] == ["start", "stop"]
    assert 3595 < done["ttl_remaining"] <= 3600
    calls = (names["vm_workflow"](VM, f"command-{n}", session_id="many") for n in range(50))
    await asyncio.gather(*calls)
    many = await tool._shared_manager().get("many")
    assert many is not None
    assert len(many["command_history"]) == 50

    await managing.run(names, IMPORTS)
    told = capsys.readouterr().out
    assert "Session TTL remaining: 3" in told
    assert "Session data: {'last_operation': 'vm_start', 'vm_id': 'vm-123'}" in told
    assert names["session_manager"].get(SESSION) is None

    await force_off(names["connection_pool"])
    await using.run(names, IMPORTS)
    assert names["result1"].driver.upper() == "TEST"
    assert names["result2"].vm.state == vm_pb2.VM_STATE_RUNNING
    (stats,) = await names["connection_pool"].stats()
    assert stats.leased == 0
    names["session_manager"].close()
    await names["connection_pool"].close()
    await tool._shared_manager().close()


@pytest.mark.usefixtures("_somewhere")
async def test_the_samples_of_the_page_that_explains_it_run_in_order() -> None:
    names: dict[str, Any] = {"session_id": "of-the-page", "vm_id": VM}
    for sample in samples("from-the-seed.md"):
        await sample.run(names, {})
    names["session_manager"].close()
    await names["connection_pool"].close()
    await tool._shared_manager().close()


def test_the_page_answers_every_heading_of_the_seed() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "from-the-seed.md").read_text()
    lines = (docs / "seed.md").read_text().partition("## Best Practices")[2].splitlines()
    advice = [line.strip().removeprefix("- ").strip() for line in lines if line.strip().startswith("- ")]
    wanted = [each.partition("**: ")[2] or each for each in advice]
    assert len(wanted) > 15
    missing = [each for each in wanted if each not in page]
    assert not missing
