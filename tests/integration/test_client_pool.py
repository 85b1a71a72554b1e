"""Leased connections from Python, of a pool in this process and of one in another: real libvirt in both."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from support.processes import BIN, clean_environment, free_port, running

from virtlease import (
    Closed,
    ConnectionPool,
    LeaseLost,
    NotFound,
    ServiceUnavailable,
    TimedOut,
    WrongState,
    aio,
)
from virtlease.client.pool import commands
from virtlease.pool.v1 import lease_pb2, operate_pb2, vm_inspection_pb2, vm_pb2, vm_snapshot_pb2
from virtlease.pool.v1.pool_service_pb2_grpc import PoolServiceStub

VM = "local/test"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A pool service in a process of its own."""
    address = f"127.0.0.1:{free_port()}"
    env = clean_environment(
        VIRTLEASE_POOL_ADDRESS=address, VIRTLEASE_METRICS_ADDRESS="127.0.0.1:0", VIRTLEASE_POOL_MAX_SIZE="2"
    )
    with running(tmp_path_factory.mktemp("pool"), "pool", str(BIN / "virtlease"), "pool", env=env) as process:
        process.wait_for("pool service on")
        yield address


@pytest.fixture(params=["embedded", "service"])
def target(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "embedded" else str(request.getfixturevalue("service"))


@pytest.fixture
async def pool(target: str | None) -> AsyncIterator[aio.ConnectionPool]:
    async with aio.ConnectionPool(2, target=target, lease_ttl=3, acquire_timeout=5) as found:
        yield found


async def leased(pool: aio.ConnectionPool) -> int:
    """How many connections are leased, or on their way to somebody."""
    (stats,) = await pool.stats()
    return int(stats.leased + stats.reserved + stats.waiting)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def nothing_leased(pool: aio.ConnectionPool) -> bool:
    return await leased(pool) == 0


async def given_back_behind_its_back(connection: aio.Connection) -> None:
    """Ends a lease by a call of its own. On the loop thread."""
    stub = PoolServiceStub(connection._keeper.calls._channel)  # type: ignore[no-untyped-call]
    await stub.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=connection.lease_id))


async def killed(connection: aio.Connection) -> None:
    """Ends a lease as an operator does. On the loop thread."""
    stub = PoolServiceStub(connection._keeper.calls._channel)  # type: ignore[no-untyped-call]
    (lease,) = (await stub.ListLeases(operate_pb2.ListLeasesRequest())).leases
    await stub.KillLease(operate_pb2.KillLeaseRequest(lease_ref=lease.lease_ref))


# Using one


async def test_commands_and_aliases_run_on_the_connection(pool) -> None:
    async with pool.connection(VM) as connection:
        assert connection.hypervisor == "local"
        assert connection.alive
        found = await connection.execute_command("vm_info", details=True)
        assert isinstance(found, vm_inspection_pb2.GetVmResponse)
        assert (found.vm.name, found.vm.state) == ("test", vm_pb2.VM_STATE_RUNNING)
        assert found.details.persistent
        assert (await connection.execute_command("get_system_info")).driver.upper() == "TEST"
        await connection.execute_command("pause_vm", if_state="RUNNING")
        listed = await connection.execute_command("list_vms", states=["paused"])
        assert [vm.vm_id for vm in listed.vms] == [VM]
        await connection.execute_command("resume_vm")
        assert await leased(pool) == 1
    assert await nothing_leased(pool)
    assert not connection.alive
    assert connection.lease_id not in repr(connection)


async def test_get_and_release_by_hand(pool) -> None:
    connection = await pool.get_connection(VM)
    try:
        assert (await connection.execute_command("get_vm")).vm.vm_id == VM
        with pytest.raises(ValueError, match="got for 'local/test', not for 'local/other'"):
            await pool.release_connection("local/other", connection)
    finally:
        await pool.release_connection(VM, connection)
    await pool.release_connection(VM, connection)
    with pytest.raises(Closed, match="given back"):
        await connection.execute_command("get_vm")
    awaited = await pool.connection(VM)
    async with aio.ConnectionPool() as other:
        with pytest.raises(ValueError, match="not of this pool"):
            await other.release_connection(VM, awaited)
    await pool.release_connection(VM, awaited)


def test_the_synchronous_twin(target) -> None:
    steps: list[Any] = []
    with ConnectionPool(2, target=target, lease_ttl=3) as pool, pool.connection(VM) as connection:
        assert connection.execute_command("vm_info").vm.name == "test"
        with pytest.raises(WrongState) as caught:
            connection.execute_command("start_vm")
        assert caught.value.reason == "ALREADY_IN_STATE"
        made = connection.execute_command("create_snapshot", name="one", progress=steps.append)
        assert made.snapshot.name == "one"
        assert [snapshot.name for snapshot in connection.execute_command("list_snapshots").snapshots] == ["one"]
        connection.execute_command("delete_snapshot", snapshot="one")
        assert all(isinstance(step, vm_snapshot_pb2.Progress) for step in steps)
        other = pool.get_connection(VM)
        pool.release_connection(VM, other)
        assert [stats.leased for stats in pool.stats()] == [1]
    with pytest.raises(Closed, match="connection pool was closed"):
        pool.get_connection(VM)


# What is wrong


async def test_wrong_calls_say_what_is_right(pool) -> None:
    async with pool.connection(VM) as connection:
        with pytest.raises(ValueError, match="no command 'stat_vm'; near it: start_vm"):
            await connection.execute_command("stat_vm")
        with pytest.raises(TypeError, match=r"get_vm: no argument 'detail'; it has details, lease_id, vm_id"):
            await connection.execute_command("get_vm", detail=True)
        with pytest.raises(TypeError, match="details: "):
            await connection.execute_command("get_vm", details="yes")
        with pytest.raises(ValueError, match="if_state: 'ON' is none of RUNNING, BLOCKED"):
            await connection.execute_command("start_vm", if_state="ON")
        with pytest.raises(NotFound) as caught:
            await connection.execute_command("get_vm", vm_id="local/none")
        assert caught.value.reason == "VM_NOT_FOUND"
        with pytest.raises(WrongState) as refused:
            await connection.execute_command("suspend_vm", if_state="SHUT_OFF")
        assert refused.value.metadata["state"] == "RUNNING"
    with pytest.raises(NotFound, match="no hypervisor 'nowhere'"):
        await pool.get_connection("nowhere/vm")
    with pytest.raises(ValueError, match="lease_ttl: between 3 and 300"):
        aio.ConnectionPool(lease_ttl=1)


async def test_a_wait_for_a_connection_ends_by_its_deadline(target) -> None:
    async with aio.ConnectionPool(2, target=target, acquire_timeout=0.3) as pool:
        async with pool.connection(VM), pool.connection(VM):
            with pytest.raises(TimedOut) as caught:
                await pool.get_connection(VM)
        assert caught.value.reason == "ACQUIRE_TIMEOUT"
        assert await nothing_leased(pool)


async def test_a_service_that_is_not_there_is_named() -> None:
    async with aio.ConnectionPool(target=f"127.0.0.1:{free_port()}") as pool:
        with pytest.raises(ServiceUnavailable, match=r"pool service at 127.0.0.1:\d+ was not reached"):
            await pool.get_connection(VM)


# Keeping leases, and giving them back


async def test_a_program_that_blocks_its_loop_loses_no_lease(pool) -> None:
    async with pool.connection(VM) as connection:
        time.sleep(4.5)  # half as long again as the lease lives
        assert (await connection.execute_command("get_vm")).vm.name == "test"


async def test_a_lease_that_is_over_says_so_and_leaving_the_block_is_no_error(pool) -> None:
    async with pool.connection(VM) as connection:
        await connection._thread.wait(given_back_behind_its_back(connection))
        with pytest.raises(LeaseLost):
            await connection.execute_command("get_vm")
        with pytest.raises(LeaseLost):
            await connection.execute_command("get_vm")
        assert not connection.alive
    assert await nothing_leased(pool)


async def test_a_lost_lease_is_noticed_without_a_call(pool) -> None:
    connection = await pool.get_connection(VM)
    await connection._thread.wait(killed(connection))

    async def lost() -> bool:
        return not connection.alive

    await until(lost, 2)
    with pytest.raises(LeaseLost) as caught:
        await connection.execute_command("get_vm")
    assert caught.value.reason == "LEASE_KILLED"


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, KeyboardInterrupt])
async def test_leaving_the_block_releases_whatever_happened(pool, error) -> None:
    async def use() -> None:
        async with pool.connection(VM):
            raise error

    with pytest.raises(error):
        await use()
    assert await nothing_leased(pool)


async def test_a_cancel_at_any_moment_of_connection_leaves_nothing_behind(pool) -> None:
    """At every step of the loop, and at moments between them, of taking one, using it and giving it back."""
    entered = 0

    async def use() -> None:
        nonlocal entered
        async with pool.connection(VM) as connection:
            entered += 1
            await connection.execute_command("get_vm")

    await use()
    for moment in range(60):
        task = asyncio.create_task(use())
        if moment < 12:
            for _ in range(moment):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep((moment - 12) * 0.0002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert entered > 1
    await until(lambda: nothing_leased(pool))


async def test_a_cancel_that_crosses_the_grant_gives_it_back(pool) -> None:
    await pool.stats()  # everything is open
    task = asyncio.create_task(pool.get_connection(VM))
    await asyncio.sleep(0)
    time.sleep(0.3)  # the lease is granted in the other thread, and this loop has not heard of it
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: nothing_leased(pool), 2.5)  # sooner than it would end by itself


async def test_a_cancelled_waiter_leaves_the_line(pool) -> None:
    async with pool.connection(VM), pool.connection(VM):
        waiters = [asyncio.create_task(pool.get_connection(VM)) for _ in range(5)]

        async def waiting() -> bool:
            return (await pool.stats())[0].waiting == 5

        await until(waiting)
        for waiter in waiters[1:]:
            waiter.cancel()
        await asyncio.gather(*waiters[1:], return_exceptions=True)

        async def one_waits() -> bool:
            return (await pool.stats())[0].waiting == 1

        await until(one_waits)
    connection = await waiters[0]
    await pool.release_connection(VM, connection)
    await until(lambda: nothing_leased(pool))


async def test_many_tasks_share_two_connections(pool) -> None:
    running = most = 0

    async def use() -> None:
        nonlocal running, most
        async with pool.connection(VM) as connection:
            running += 1
            most = max(most, running)
            await connection.execute_command("get_vm")
            running -= 1

    await asyncio.gather(*(use() for _ in range(30)))
    assert most == 2
    assert await nothing_leased(pool)


def test_one_pool_serves_many_loops(target) -> None:
    pool = aio.ConnectionPool(2, target=target)

    async def use() -> str:
        async with pool.connection(VM) as connection:
            return str((await connection.execute_command("get_vm")).vm.name)

    assert [asyncio.run(use()) for _ in range(3)] == ["test"] * 3
    asyncio.run(pool.close())


async def test_closing_a_pool_gives_everything_back(service) -> None:
    async with aio.ConnectionPool(target=service) as watcher:
        pool = aio.ConnectionPool(target=service, lease_ttl=300)
        connection = await pool.get_connection(VM)
        assert await leased(watcher) == 1
        await pool.close()
        assert await nothing_leased(watcher)
        assert not connection.alive
        await pool.release_connection(VM, connection)


PROGRAM = """
import asyncio, sys
from virtlease import aio

async def main():
    pool = aio.ConnectionPool(target=sys.argv[1], lease_ttl=3)
    async with pool.connection("local/test") as connection:
        print((await connection.execute_command("get_vm")).vm.name, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_p3_a_client_that_is_killed_leaves_no_lease_after_ttl_and_grace(service) -> None:
    async with aio.ConnectionPool(target=service) as watcher:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, service], stdout=subprocess.PIPE, env=clean_environment()
        )
        try:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == b"test\n"
            await asyncio.sleep(4)  # longer than the lease lives: it was renewed
            assert await leased(watcher) == 1
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        killed = time.monotonic()
        await until(lambda: nothing_leased(watcher), 3 + 15)
        assert time.monotonic() - killed > 0.5  # nobody gave it back: it ended by itself


# The commands


def test_every_rpc_and_alias_of_the_service_is_a_command() -> None:
    names = commands.names()
    assert {"get_vm", "start_vm", "get_vm_xml", "create_snapshot", "get_system_info", "list_vms"} <= set(names)
    assert (names["vm_info"], names["stop_vm"], names["restart_vm"]) == ("get_vm", "shutdown_vm", "reboot_vm")
    assert "watch_vms" not in names


def test_every_command_that_writes_carries_a_request_id_and_so_can_be_sent_again() -> None:
    for name in set(commands.names().values()):
        request: Any = commands.find(name).request(VM, "lease", {})
        fields = request.DESCRIPTOR.fields_by_name
        assert request.lease_id == "lease"
        if "if_state" in fields:
            assert len(request.request_id) >= 16
            assert request.vm_id == VM


def test_the_stream_of_a_long_command_is_progress_and_a_result() -> None:
    command = commands.find("create_snapshot")
    progress = vm_snapshot_pb2.CreateSnapshotResponse(progress=vm_snapshot_pb2.Progress(fraction=0.5))
    assert command.event(progress) == (progress.progress, None)
    result = vm_snapshot_pb2.CreateSnapshotResponse(result=vm_snapshot_pb2.CreateSnapshotResult())
    assert command.event(result) == (None, result.result)
