"""Three replicas of the pool, as processes, over one Redis and one real libvirtd."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from support.libvirtd import Libvirtd
from support.processes import BIN, Running, clean_environment, free_port, running
from support.redis_server import RedisServer, redis_server

from virtlease.pool.v1 import lease_pb2, pool_service_pb2_grpc

CAP, REPLICAS, SLOT_TTL = 4, 3, 3
CONTROLS = REPLICAS  # each has a control connection besides, which is not counted


@dataclass
class Replica:
    """A pool service in a process of its own."""

    name: str
    address: str
    process: Running


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", "--appendonly", "yes") as server:
        yield server


@pytest.fixture
def replicas(tmp_path: Path, daemon: Libvirtd, redis: RedisServer) -> Iterator[list[Replica]]:
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(REPLICAS):
            name, address = f"replica-{number}", f"127.0.0.1:{free_port()}"
            env = clean_environment(
                VIRTLEASE_POOL_ADDRESS=address,
                VIRTLEASE_POOL_HYPERVISOR_NAME="kvm",
                VIRTLEASE_POOL_HYPERVISOR_URI=daemon.test_uri,
                VIRTLEASE_POOL_MAX_SIZE=str(CAP),
                VIRTLEASE_POOL_IDLE_TTL="0.5",
                VIRTLEASE_POOL_REPLICA=name,
                VIRTLEASE_POOL_REDIS_URL=redis.url,
                VIRTLEASE_POOL_SLOT_TTL=str(SLOT_TTL),
                VIRTLEASE_METRICS_ADDRESS="127.0.0.1:0",
            )
            process = stack.enter_context(running(tmp_path, name, str(BIN / "virtlease"), "pool", env=env))
            found.append(Replica(name, address, process))
        for replica in found:
            replica.process.wait_for("pool service on")
        yield found


class Sockets:
    """Counts the clients of libvirtd, a hundred times a second."""

    def __init__(self, daemon: Libvirtd) -> None:
        self._daemon = daemon
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count)
        self.most = 0

    def __enter__(self) -> "Sockets":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _count(self) -> None:
        while not self._stop.wait(0.01):
            self.most = max(self.most, self._daemon.clients())


async def use(address: str, until: float, counts: dict[str, int]) -> None:
    """Leases, holds for a moment, gives back, again and again; goes to sleep now and then, so that others get slots."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pool_service_pb2_grpc.PoolServiceStub(channel)
        while time.monotonic() < until:
            try:
                granted = await stub.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="kvm"), timeout=4)
                await asyncio.sleep(0.05)
                await stub.ReleaseLease(lease_pb2.ReleaseLeaseRequest(lease_id=granted.lease.lease_id), timeout=4)
                counts[address] = counts.get(address, 0) + 1
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                    raise
            if counts.get(address, 0) % 20 == 19:
                await asyncio.sleep(0.8)


async def fill(address: str, wanted: int, seconds: float) -> list[str]:
    """Leases at one replica until it has so many, for so long."""
    found: list[str] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pool_service_pb2_grpc.PoolServiceStub(channel)
        deadline = time.monotonic() + seconds
        while len(found) < wanted and (left := deadline - time.monotonic()) > 0.1:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await stub.AcquireLease(lease_pb2.AcquireLeaseRequest(hypervisor="kvm"), timeout=left)
                found.append(answer.lease.lease_id)
    return found


@pytest.mark.timeout(120)
async def test_p5_the_cap_holds_over_replicas_whatever_redis_does(
    replicas: list[Replica], daemon: Libvirtd, redis: RedisServer
) -> None:
    """Counted as sockets at libvirtd, while Redis stands still, dies and comes back."""
    assert daemon.clients() == CONTROLS
    with Sockets(daemon) as sockets:
        counts: dict[str, int] = {}
        until = time.monotonic() + 18
        users = [asyncio.create_task(use(r.address, until, counts)) for r in replicas for _ in range(4)]
        await asyncio.sleep(4)
        redis.pause()
        await asyncio.sleep(1)
        redis.resume()
        await asyncio.sleep(3)
        redis.stop()
        await asyncio.sleep(1)
        redis.start()
        await asyncio.gather(*users)
    print(f"{counts} leases; {sockets.most} sockets at most, {CONTROLS} of them for control, cap {CAP}")
    assert sockets.most <= CAP + CONTROLS
    assert all(counts.get(replica.address, 0) > 10 for replica in replicas)


@pytest.mark.timeout(120)
async def test_p5_a_killed_replica_frees_its_slots(replicas: list[Replica], daemon: Libvirtd) -> None:
    victim, other, _ = replicas
    assert len(await fill(victim.address, CAP, 10)) == CAP
    assert await fill(other.address, 1, 1) == []
    os.kill(victim.process.process.pid, signal.SIGKILL)
    victim.process.process.wait()
    began = time.monotonic()
    assert len(await fill(other.address, CAP, SLOT_TTL * 3 + 5)) == CAP
    took = time.monotonic() - began
    print(f"the slots of a killed replica were free after {took:.1f} s, their time is {SLOT_TTL} s")
    assert daemon.clients() == CAP + CONTROLS - 1
