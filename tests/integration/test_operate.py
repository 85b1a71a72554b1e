"""What operators see and do, over gRPC: leases, modes, events, reloads, the status table."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.identities import bearer, write_identities
from support.pool_server import Served, failure, serve_pool
from support.processes import BIN, clean_environment

from virtlease.pool.v1 import hypervisor_pb2, lease_pb2, operate_pb2, vm_inspection_pb2

ACQUIRE = lease_pb2.AcquireLeaseRequest(hypervisor="local", purpose="nightly backup")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve_pool(acquire_timeout=5) as served:
        yield served


async def stats(served: Served) -> Any:
    return (await served.pool.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest())).pools[0]


async def test_leases_are_listed_with_who_holds_what_since_when(served: Served) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    acquired = await served.pool.AcquireLease(ACQUIRE, metadata=[("traceparent", f"00-{trace}-00f067aa0ba902b7-01")])
    lease_id = acquired.lease.lease_id
    await served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id="local/test", lease_id=lease_id))
    for _ in range(2):
        await served.pool.AcquireLease(ACQUIRE)
    first = await served.pool.ListLeases(operate_pb2.ListLeasesRequest(page_size=2, hypervisor="local"))
    rest = await served.pool.ListLeases(
        operate_pb2.ListLeasesRequest(page_size=2, hypervisor="local", page_token=first.next_page_token)
    )
    assert (len(first.leases), len(rest.leases), rest.next_page_token) == (2, 1, "")
    (info,) = [lease for lease in first.leases if lease.lease_ref == acquired.lease.lease_ref]
    assert (info.owner, info.purpose, info.hypervisor) == ("default/anonymous", "nightly backup", "local")
    assert (info.calls, info.trace_id) == (1, trace)
    assert info.peer.startswith("ipv4:127.0.0.1")
    assert info.holder_ref
    assert lease_id not in str(first)
    assert acquired.holder_id not in str(first)
    assert info.last_use_time.ToMilliseconds() >= info.acquire_time.ToMilliseconds()


async def test_others_see_only_their_own_and_operate_nothing(tmp_path: Path) -> None:
    async with serve_pool(identity_file=write_identities(tmp_path)) as served:
        mine = await served.pool.AcquireLease(ACQUIRE, metadata=bearer("alice"))
        theirs = await served.pool.ListLeases(operate_pb2.ListLeasesRequest(), metadata=bearer("carol"))
        assert not theirs.leases
        kill = operate_pb2.KillLeaseRequest(lease_ref=mine.lease.lease_ref)
        assert (await failure(served.pool.KillLease(kill, metadata=bearer("carol")))).code.name == "PERMISSION_DENIED"
        await served.pool.RenewLease(
            lease_pb2.RenewLeaseRequest(lease_id=mine.lease.lease_id), metadata=bearer("alice")
        )


async def test_a_killed_lease_is_refused_and_its_connection_closed(served: Served) -> None:
    acquired = await served.pool.AcquireLease(ACQUIRE)
    answer = await served.pool.KillLease(operate_pb2.KillLeaseRequest(lease_ref=acquired.lease.lease_ref))
    assert answer.lease.owner == "default/anonymous"
    request = vm_inspection_pb2.GetVmRequest(vm_id="local/test", lease_id=acquired.lease.lease_id)
    assert (await failure(served.vms.GetVm(request))).reason == "LEASE_KILLED"
    assert (await stats(served)).closed == {"killed": 1}
    assert (await failure(served.pool.KillLease(operate_pb2.KillLeaseRequest(lease_ref="lease-0")))).code.name == (
        "NOT_FOUND"
    )
    assert (await failure(served.pool.KillLease(operate_pb2.KillLeaseRequest()))).faults[0][0] == "lease_ref"


async def test_pause_resume_drain_recycle(served: Served) -> None:
    pool = served.pool
    paused = await pool.Pause(operate_pb2.PauseRequest(hypervisor="local"))
    assert paused.pool.mode == hypervisor_pb2.POOL_MODE_PAUSED
    waiting = pool.AcquireLease(ACQUIRE)
    await asyncio.sleep(0.2)
    assert (await stats(served)).waiting == 1
    await pool.Resume(operate_pb2.ResumeRequest(hypervisor="local"))
    lease = (await waiting).lease
    drained = await pool.Drain(operate_pb2.DrainRequest(hypervisor="local"))
    assert drained.pool.mode == hypervisor_pb2.POOL_MODE_DRAINING
    assert (await failure(pool.AcquireLease(ACQUIRE))).reason == "POOL_DRAINING"
    await pool.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id))
    await pool.Resume(operate_pb2.ResumeRequest(hypervisor="local"))
    await pool.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=(await pool.AcquireLease(ACQUIRE)).lease.lease_id))
    recycled = await pool.Recycle(operate_pb2.RecycleRequest(hypervisor="local"))
    assert (recycled.pool.generation, recycled.pool.idle) == (1, 0)
    assert recycled.pool.closed == {"drained": 1, "recycled": 1}
    for call, request in ((pool.Pause, operate_pb2.PauseRequest), (pool.Recycle, operate_pb2.RecycleRequest)):
        assert (await failure(call(request(hypervisor="none")))).reason == "HYPERVISOR_NOT_FOUND"
        assert (await failure(call(request()))).faults[0][0] == "hypervisor"


async def test_what_happens_in_a_pool_is_told_in_order(served: Served) -> None:
    stream = served.pool.WatchPool(operate_pb2.WatchPoolRequest(hypervisor="local"), timeout=20)
    token = (await stream.read()).resume_token
    lease = (await served.pool.AcquireLease(ACQUIRE)).lease
    await served.pool.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id))
    await served.pool.Recycle(operate_pb2.RecycleRequest(hypervisor="local"))

    async def told(watch: Any, number: int) -> list[tuple[str, str]]:
        events: list[Any] = []
        while len(events) < number:
            events += (await watch.read()).events
        return [(operate_pb2.PoolEventType.Name(each.type)[16:], each.lease_ref) for each in events]

    expected = [
        ("CONNECTION_OPENED", ""),
        ("LEASE_ACQUIRED", lease.lease_ref),
        ("LEASE_RELEASED", lease.lease_ref),
        ("MODE_CHANGED", ""),
        ("CONNECTION_CLOSED", ""),
    ]
    assert await told(stream, 5) == expected
    stream.cancel()
    again = served.pool.WatchPool(operate_pb2.WatchPoolRequest(resume_token=token), timeout=20)
    assert await told(again, 5) == expected
    again.cancel()


async def test_the_list_of_hypervisors_changes_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listing = tmp_path / "hypervisors.yaml"

    def write(*entries: str) -> None:
        listing.write_text("hypervisors:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))

    async def names(*expected: str) -> dict[str, Any]:
        for _ in range(60):
            answer = await served.pool.ListHypervisors(hypervisor_pb2.ListHypervisorsRequest())
            found = {each.name: each for each in answer.hypervisors}
            if set(found) == set(expected):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"{set(found)}, not {set(expected)}")

    write("name: local, uri: 'test:///default', max_size: 2", "name: old, uri: 'test:///default'")
    async with serve_pool(hypervisors_file=listing) as served:
        await names("local", "old")
        mine = (await served.pool.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="old"))).lease
        kept = (await served.pool.AcquireLease(ACQUIRE)).lease
        write(
            "name: local, uri: 'test:///default', max_size: 5, labels: {rack: a}", "name: new, uri: 'test:///default'"
        )
        found = await names("local", "new")
        for _ in range(30):
            if found["local"].max_size == 5:
                break
            await asyncio.sleep(0.1)
        assert (found["local"].max_size, dict(found["local"].labels)) == (5, {"rack": "a"})
        await served.pool.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="new"))
        # Leases outlive the change, also those of one that is gone, which takes no new ones
        for lease, vm in ((kept, "local/test"), (mine, "old/test")):
            await served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id=vm, lease_id=lease.lease_id))
        refused = await failure(served.pool.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="old")))
        assert refused.reason == "HYPERVISOR_NOT_FOUND"
        # A list that cannot be used changes nothing, and the log says why
        write("name: x, uri: nonsense", "name: x, uri: 'test:///default', maximum: 5")
        await asyncio.sleep(2.5)
        await names("local", "new")
        assert "cannot be used; the former" in caplog.text
        assert "maximum" in caplog.text


async def test_the_status_command_prints_pools_and_leases(served: Served) -> None:
    lease = (await served.pool.AcquireLease(ACQUIRE)).lease
    command = [str(BIN / "virtlease"), "status", "--target", served.address]
    env = clean_environment(COLUMNS="200")
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=env, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("local", "UP", "ACTIVE", "TEST 9", lease.lease_ref, "default/anonymous", "nightly backup"):
        assert expected in done.stdout
    command[-1] = "127.0.0.1:9"
    down = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=env, timeout=30)
    assert down.returncode == 1
    assert "UNAVAILABLE" in down.stdout
