"""Tasks over several VMs and failures, done with the tools' texts alone and checked for their outcome."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from evals.agent import Agent
from fastmcp import Client
from support.processes import Addresses, virtlease_up

NODE = """\
<node>
  {domains}
  <network><name>default</name></network>
</node>
"""
DOMAIN = "<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>{memory}</memory><vcpu>{vcpus}</vcpu>"
DOMAIN += "<os><type>hvm</type></os></domain>"
LAB = {"web": (1, 1), "db": (4, 2), "cache": (2, 1)}
PROD = {"web": (2, 4), "mail": (1, 1)}


def node(folder: Path, name: str, vms: dict[str, tuple[int, int]]) -> str:
    """The URI of a test driver with these VMs: gigabytes of memory and CPUs by name."""
    domains = "\n  ".join(
        DOMAIN.format(
            name=vm, uuid=f"0000000{len(name)}-0000-0000-0000-00000000000{n}", memory=gb * 1024 * 1024, vcpus=cpus
        )
        for n, (vm, (gb, cpus)) in enumerate(vms.items())
    )
    path = folder / f"{name}.xml"
    path.write_text(NODE.format(domains=domains))
    return f"test://{path}"


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Addresses]:
    """Two hypervisors with VMs, and one that nobody answers for."""
    file = tmp_path / "hypervisors.yaml"
    file.write_text(
        "hypervisors:\n"
        f"  - {{name: lab, uri: '{node(tmp_path, 'lab', LAB)}'}}\n"
        f"  - {{name: prod, uri: '{node(tmp_path, 'prod', PROD)}'}}\n"
        "  - {name: attic, uri: 'qemu+tcp://127.0.0.1:9/system'}\n"
    )
    with virtlease_up(tmp_path, VIRTLEASE_POOL_HYPERVISORS_FILE=str(file)) as (addresses, _):
        yield addresses


@pytest_asyncio.fixture
async def client(up: Addresses) -> AsyncIterator[Client]:
    async with Client(up.mcp_url) as client:
        yield client


async def states(client: Client) -> dict[str, str]:
    """What really is, for the checks."""
    vms = (await client.call_tool("list_vms", {})).structured_content["vms"]
    return {vm["vm_id"]: vm["state"] for vm in vms}


async def suspend_all_of_a_hypervisor(client: Client, agent: Agent) -> None:
    await agent.do("list the VMs of a hypervisor", hypervisor="lab")
    for vm in LAB:
        await agent.do("suspend a running VM", vm_id=f"lab/{vm}")
    found = await states(client)
    assert {vm for vm, state in found.items() if state == "PAUSED"} == {f"lab/{vm}" for vm in LAB}


async def find_a_vm_whose_name_is_misspelt(client: Client, agent: Agent) -> None:
    await agent.do("suspend a VM", vm_id="lab/cahce")
    assert (await states(client))["lab/cache"] == "PAUSED"


async def find_a_hypervisor_whose_name_is_misspelt(client: Client, agent: Agent) -> None:
    assert '"hypervisor":"prod"' in await agent.do("describe the host", hypervisor="prd")


async def name_a_vm_without_its_hypervisor(client: Client, agent: Agent) -> None:
    await agent.do("suspend a VM", vm_id="mail")
    assert (await states(client))["prod/mail"] == "PAUSED"


async def see_that_there_is_nothing_to_do(client: Client, agent: Agent) -> None:
    text = await agent.do("resume a VM", vm_id="lab/web")
    assert "nothing left to do" in text
    assert len(agent.steps) == 1


async def go_on_with_another_session(client: Client, agent: Agent) -> None:
    first = await agent.new_session()
    await agent.do("end the session", session_id=first)
    await agent.do("suspend a VM", vm_id="lab/db")
    assert agent.session_id != first
    assert (await states(client))["lab/db"] == "PAUSED"
    assert "suspend_vm" in await agent.do("read a session", session_id=agent.session_id)


async def give_up_on_a_hypervisor_that_is_down(client: Client, agent: Agent) -> None:
    text = await agent.do("describe the VM", vm_id="attic/old")
    assert "HYPERVISOR_UNAVAILABLE" in text
    assert "try again later" in text
    assert len(agent.steps) <= 2


async def cut_off_a_vm_that_may_be_cut_off(client: Client, agent: Agent) -> None:
    agent.agrees = True
    await agent.do("cut off a VM at once", vm_id="prod/mail")
    assert (await states(client))["prod/mail"] == "SHUT_OFF"


async def leave_a_vm_that_may_not_be_cut_off(client: Client, agent: Agent) -> None:
    text = await agent.do("cut off a VM at once", vm_id="prod/web")
    assert "nothing was done yet" in text
    assert (await states(client))["prod/web"] == "RUNNING"


async def shut_down_a_vm_that_is_suspended(client: Client, agent: Agent) -> None:
    await client.call_tool("suspend_vm", {"vm_id": "lab/web"})
    await agent.do("shut down the guest of a VM", vm_id="lab/web")
    assert (await states(client))["lab/web"] == "SHUT_OFF"


async def correct_arguments_that_are_wrong(client: Client, agent: Agent) -> None:
    text = await agent.do("describe one VM", vm_id="lab/db", details="yes")
    assert '"vcpus":2' in text
    assert '"os_type":"hvm"' in text


async def add_up_what_the_vms_have(client: Client, agent: Agent) -> None:
    vms = json.loads(await agent.do("list the VMs", hypervisor="lab"))["vms"]
    assert sum(vm["vcpus"] for vm in vms) == sum(cpus for _, cpus in LAB.values())
    assert sum(vm["memory_bytes"] for vm in vms) == sum(gb for gb, _ in LAB.values()) * 2**30


async def keep_notes_for_later(client: Client, agent: Agent) -> None:
    session_id = await agent.new_session()
    note = [{"key": "looked_at", "set": ["lab/web"]}]
    await agent.do("change values of a session", session_id=session_id, mutations=note)
    assert '"looked_at":["lab/web"]' in await agent.do("read a session", session_id=session_id)


TASKS: list[Callable[[Client, Agent], Awaitable[None]]] = [
    suspend_all_of_a_hypervisor,
    find_a_vm_whose_name_is_misspelt,
    find_a_hypervisor_whose_name_is_misspelt,
    name_a_vm_without_its_hypervisor,
    see_that_there_is_nothing_to_do,
    go_on_with_another_session,
    give_up_on_a_hypervisor_that_is_down,
    cut_off_a_vm_that_may_be_cut_off,
    leave_a_vm_that_may_not_be_cut_off,
    shut_down_a_vm_that_is_suspended,
    correct_arguments_that_are_wrong,
    add_up_what_the_vms_have,
    keep_notes_for_later,
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
async def test_task(client: Client, task: Callable[[Client, Agent], Awaitable[None]]) -> None:
    agent = Agent(client)
    try:
        await task(client, agent)
    finally:
        print(f"\n{task.__name__.replace('_', ' ')}: {len(agent.steps)} calls")
        for step in agent.steps:
            print(f"  {step}")
