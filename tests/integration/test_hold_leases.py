"""HoldLeases over gRPC: batches, heartbeats, breaks, holders that die. Real libvirt's test driver behind it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.cutting_proxy import cutting_proxy
from support.pool_server import Served, failure, serve_pool

from virtlease.client.errors import CallFailed
from virtlease.client.lease_stream import LeaseStream
from virtlease.pool.v1 import hold_pb2, hypervisor_pb2, lease_pb2, vm_inspection_pb2

ACQUIRE = lease_pb2.AcquireLeaseRequest
VM = "local/test"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve_pool() as served:
        yield served


@contextlib.asynccontextmanager
async def stream_to(address: str, **options: Any) -> AsyncIterator[LeaseStream]:
    async with grpc.aio.insecure_channel(address, [("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
        stream = LeaseStream(channel, **options)
        try:
            yield stream
        finally:
            await stream.close()


def acquire(**fields: Any) -> lease_pb2.AcquireLeaseRequest:
    return ACQUIRE(hypervisor="local", **fields)


async def stats(served: Served) -> hypervisor_pb2.PoolStats:
    answer = await served.pool.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest())
    return answer.pools[0]


async def until(served: Served, seconds: float, **expected: int) -> float:
    """Waits until the pool's figures are these; returns how long it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        found = await stats(served)
        if all(getattr(found, name) == value for name, value in expected.items()):
            return loop.time() - started
        assert loop.time() - started < seconds, f"not {expected} within {seconds} s: {found}"
        await asyncio.sleep(0.05)


async def test_leases_are_acquired_used_and_released_on_a_stream(served: Served) -> None:
    async with stream_to(served.address) as stream:
        leases = [(await stream.acquire(acquire(), timeout=5)).lease for _ in range(3)]
        request = vm_inspection_pb2.GetVmRequest(vm_id=VM, lease_id=leases[0].lease_id)
        assert (await served.vms.GetVm(request)).vm.name == "test"
        assert (await stats(served)).leased == 3
        for lease in leases:
            await stream.release(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id), timeout=5)
        assert (await stats(served)).leased == 0
        again = lease_pb2.ReleaseLeaseRequest(lease_id=leases[0].lease_id)
        with pytest.raises(CallFailed) as caught:
            await stream.release(again, timeout=5)
        assert caught.value.reason == "LEASE_RELEASED"


async def test_many_callers_share_the_stream_and_go_out_together(served: Served) -> None:
    async with stream_to(served.address) as stream:

        async def cycle() -> None:
            for _ in range(10):
                lease = (await stream.acquire(acquire(), timeout=20)).lease
                await stream.release(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id), timeout=5)

        await asyncio.gather(*(cycle() for _ in range(64)))
        found = await stats(served)
        assert (found.acquired, found.leased, found.waiting) == (640, 0, 0)
        assert not stream.held


async def test_a_heartbeat_keeps_all_leases_of_the_holder(served: Served) -> None:
    async with stream_to(served.address, ttl=3) as stream:
        leases = [(await stream.acquire(acquire(), timeout=5)).lease for _ in range(2)]
        await asyncio.sleep(7)
        for lease in leases:
            request = vm_inspection_pb2.GetVmRequest(vm_id=VM, lease_id=lease.lease_id)
            await served.vms.GetVm(request)
        assert len(stream.held) == 2


async def test_p3_a_blip_loses_no_lease(served: Served) -> None:
    """The network is cut for a second: the holder comes back and holds what it held."""
    async with cutting_proxy(int(served.address.rpartition(":")[2])) as proxy:
        lost: list[str] = []
        async with stream_to(f"127.0.0.1:{proxy.port}", on_lost=lambda lease_id, _: lost.append(lease_id)) as stream:
            lease = (await stream.acquire(acquire(), timeout=5)).lease
            proxy.refusing = True
            proxy.cut()
            await asyncio.sleep(1)
            proxy.refusing = False
            second = (await stream.acquire(acquire(), timeout=5)).lease
            assert set(stream.held) == {lease.lease_id, second.lease_id}
            await served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id=VM, lease_id=lease.lease_id))
            assert not lost


async def test_p3_an_acquire_that_a_break_interrupts_is_granted_once(served: Served) -> None:
    async with cutting_proxy(int(served.address.rpartition(":")[2])) as proxy:
        async with stream_to(f"127.0.0.1:{proxy.port}") as stream:
            # A stream that never was is no break: it fails at once. So there is one, before any is cut.
            lease = (await stream.acquire(acquire(), timeout=10)).lease
            await stream.release(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id), timeout=5)
            for _ in range(10):
                task = asyncio.create_task(stream.acquire(acquire(), timeout=10))
                await asyncio.sleep(0.01)
                proxy.cut()
                lease = (await task).lease
                assert (await stats(served)).leased == 1
                await stream.release(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id), timeout=5)
        await until(served, 3, leased=0)


async def test_p3_a_cancelled_acquire_leaves_no_lease_behind(served: Served) -> None:
    async with stream_to(served.address) as stream:
        for step in range(40):
            task = asyncio.create_task(stream.acquire(acquire(), timeout=5))
            for _ in range(step):
                await asyncio.sleep(0.0005)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                lease = (await task).lease
                await stream.release(lease_pb2.ReleaseLeaseRequest(lease_id=lease.lease_id), timeout=5)
        await until(served, 5, leased=0, waiting=0)
        assert not stream.held


async def test_p3_a_frozen_network_is_found_out_by_the_missing_heartbeat(served: Served) -> None:
    """Packets vanish, and no connection breaks: the server's own clock decides."""
    async with cutting_proxy(int(served.address.rpartition(":")[2])) as proxy:
        lost: list[CallFailed] = []
        async with stream_to(f"127.0.0.1:{proxy.port}", ttl=3, on_lost=lambda _, why: lost.append(why)) as stream:
            await stream.acquire(acquire(), timeout=5)
            proxy.freeze()
            took = await until(served, 8, leased=0)
            assert 1.5 < took < 6
            assert (await stats(served)).closed == {"expired": 1}
            # The client, too, knows that it can no longer rely on the lease
            for _ in range(60):
                if lost:
                    break
                await asyncio.sleep(0.1)
            assert len(lost) == 1
            proxy.thaw()


CLIENT = """
import asyncio, sys, grpc
from virtlease.client.lease_stream import LeaseStream
from virtlease.pool.v1 import lease_pb2
async def main():
    async with grpc.aio.insecure_channel(sys.argv[1]) as channel:
        stream = LeaseStream(channel, ttl=4)
        for _ in range(3):
            await stream.acquire(lease_pb2.AcquireLeaseRequest(hypervisor="local"), timeout=5)
        print("holding", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_p3_a_client_that_is_killed_holds_nothing_after_ttl_and_grace(served: Served) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, served.address, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"holding\n"
        assert (await stats(served)).leased == 3
        process.kill()
        await process.wait()
        await until(served, 4 + 4 + 1, leased=0, closing=0)
        # Its connections were closed and not given to anybody else
        found = await stats(served)
        assert (found.closed, found.idle) == ({"expired": 3}, 0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def hello(**fields: Any) -> hold_pb2.HoldLeasesRequest:
    return hold_pb2.HoldLeasesRequest(hello=hold_pb2.HolderHello(**fields))


async def test_a_holder_that_comes_twice_has_one_stream(served: Served) -> None:
    first = served.pool.HoldLeases()
    await first.write(hello())
    holder_id = (await first.read()).welcome.holder_id
    second = served.pool.HoldLeases()
    await second.write(hello(holder_id=holder_id))
    assert (await second.read()).welcome.holder_id == holder_id
    assert await asyncio.wait_for(first.read(), 5) is grpc.aio.EOF
    second.cancel()


async def test_a_holder_cannot_be_taken_over_by_another_owner(tmp_path: Path) -> None:
    from support.identities import bearer, write_identities

    async with serve_pool(identity_file=write_identities(tmp_path)) as served:
        mine = served.pool.HoldLeases(metadata=bearer("alice"))
        await mine.write(hello())
        holder_id = (await mine.read()).welcome.holder_id
        operation = hold_pb2.LeaseOperation(seq=1, acquire=acquire())
        await mine.write(hold_pb2.HoldLeasesRequest(operations=[operation]))
        lease_id = (await mine.read()).results[0].acquire.lease.lease_id
        theirs = served.pool.HoldLeases(metadata=bearer("bob"))
        await theirs.write(hello(holder_id=holder_id))
        assert not (await theirs.read()).welcome.held
        release = hold_pb2.LeaseOperation(seq=1, release=lease_pb2.ReleaseLeaseRequest(lease_id=lease_id))
        await theirs.write(hold_pb2.HoldLeasesRequest(operations=[release]))
        status = (await theirs.read()).results[0].status
        assert CallFailed.from_status(status).reason == "LEASE_NOT_FOUND"
        # And mine goes on
        await mine.write(hold_pb2.HoldLeasesRequest(operations=[release.__class__(seq=2, release=release.release)]))
        assert (await mine.read()).results[0].HasField("release")
        for stream in (mine, theirs):
            stream.cancel()


def bad_streams() -> Iterator[Any]:
    operation = hold_pb2.LeaseOperation(seq=1, renew=lease_pb2.RenewLeaseRequest())
    yield "no hello", [hold_pb2.HoldLeasesRequest(operations=[operation])], "hello"
    yield "two", [hello(), hello()], "hello"
    yield "short", [hello(holder_id="short")], "holder_id"
    yield "ttl", [hello(ttl=Duration(seconds=1))], "hello.ttl"
    yield "seq", [hello(), *[hold_pb2.HoldLeasesRequest(operations=[operation])] * 2], "operations.seq"


@pytest.mark.parametrize(("messages", "field"), [case[1:] for case in bad_streams()], ids=[c[0] for c in bad_streams()])
async def test_a_stream_that_makes_no_sense_is_told_why(
    served: Served, messages: list[hold_pb2.HoldLeasesRequest], field: str
) -> None:
    async def speak() -> None:
        stream = served.pool.HoldLeases(iter(messages), timeout=5)
        async for _ in stream:
            pass

    fault = await failure(speak())
    assert (fault.code, fault.faults[0][0]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (ACQUIRE(hypervisor="none"), "NOT_FOUND", "none"),
        (ACQUIRE(), "INVALID_ARGUMENT", "hypervisor"),
        (acquire(wait_timeout=Duration(seconds=31)), "INVALID_ARGUMENT", "wait_timeout"),
        (acquire(wait_timeout=Duration(seconds=-1)), "INVALID_ARGUMENT", "wait_timeout"),
        (acquire(ttl=Duration(seconds=301)), "INVALID_ARGUMENT", "ttl"),
        (acquire(holder_id="short"), "INVALID_ARGUMENT", "holder_id"),
        (acquire(purpose="x" * 201), "INVALID_ARGUMENT", "purpose"),
    ],
    ids=["unknown", "nothing", "wait", "negative", "ttl", "holder", "purpose"],
)
async def test_a_bad_acquire_is_told_what_is_wrong(served: Served, request_: Any, code: str, said: str) -> None:
    """The same by a call of its own and on a stream."""
    fault = await failure(served.pool.AcquireLease(request_))
    assert (fault.code.name, said in fault.message) == (code, True)
    if request_.holder_id:
        return
    async with stream_to(served.address) as stream:
        with pytest.raises(CallFailed) as caught:
            await stream.acquire(request_, timeout=5)
        assert (caught.value.code, caught.value.reason) == (fault.code, fault.reason)


async def test_renewing_by_holder_and_after_release(served: Served) -> None:
    acquired = await served.pool.AcquireLease(acquire())
    second = await served.pool.AcquireLease(acquire(holder_id=acquired.holder_id))
    renewed = await served.pool.RenewLease(lease_pb2.RenewLeaseRequest(holder_id=acquired.holder_id))
    assert {lease.lease_id for lease in renewed.leases} == {acquired.lease.lease_id, second.lease.lease_id}
    lease_id = acquired.lease.lease_id
    await served.pool.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=lease_id))
    for call in (
        served.pool.RenewLease(lease_pb2.RenewLeaseRequest(lease_id=lease_id)),
        served.pool.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=lease_id)),
        served.vms.GetVm(vm_inspection_pb2.GetVmRequest(vm_id=VM, lease_id=lease_id)),
    ):
        assert (await failure(call)).reason == "LEASE_RELEASED"
    assert (await stats(served)).leased == 1


async def test_a_retried_acquire_returns_the_lease_that_was_granted(served: Served) -> None:
    first, again = [await served.pool.AcquireLease(acquire(request_id="r1")) for _ in range(2)]
    assert (first.lease.lease_id, first.holder_id) == (again.lease.lease_id, again.holder_id)
    assert (await stats(served)).leased == 1
    fault = await failure(served.pool.AcquireLease(acquire(request_id="r1", purpose="other")))
    assert fault.reason == "REQUEST_ID_REUSED"
