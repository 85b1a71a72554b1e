"""A primary that dies, a replica that takes over, and what is lost by it."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import need
from support.processes import free_port
from support.redis_server import RedisServer
from support.session_verbs import Verbs

from virtlease_chassis.redis_url import parse
from virtlease_session.errors import SessionNotFound, StoreUnavailable
from virtlease_session.limits import Limits
from virtlease_session.model import ANY, Increment, Mutation, NewSession, RequestKey
from virtlease_session.store.redis import RedisStore

ME = "acme/alice"
SENTINEL = """port {port}
bind 127.0.0.1
sentinel monitor sessions 127.0.0.1 {primary} 2
sentinel down-after-milliseconds sessions 1000
sentinel failover-timeout sessions 5000
"""


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[tuple[RedisServer, list[int]]]:
    """A primary that has a replica, and the ports of three sentinels."""
    need("redis-server")
    with contextlib.ExitStack() as stack:
        primary = RedisServer(tmp_path / "primary", "--repl-diskless-sync-delay", "0")
        stack.callback(primary.stop)
        replica = RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(primary.port))
        stack.callback(replica.stop)
        ports = [free_port() for _ in range(3)]
        for port in ports:
            configuration = tmp_path / f"sentinel{port}.conf"
            configuration.write_text(SENTINEL.format(port=port, primary=primary.port))
            with (tmp_path / f"sentinel{port}.log").open("wb") as log:
                process = subprocess.Popen(["redis-server", str(configuration), "--sentinel"], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        deadline = time.monotonic() + 20
        for port in ports:
            while not _knows_all(redis_cli(port, "sentinel", "master", "sessions")):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        while "master_link_status:up" not in redis_cli(replica.port, "info", "replication"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield primary, ports


def redis_cli(port: int, *words: str) -> str:
    return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True, timeout=10).stdout


def _knows_all(told: str) -> bool:
    """Whether a sentinel knows the two others and the replica."""
    return "num-other-sentinels\n2" in told and "num-slaves\n1" in told


async def test_s5_a_failover_is_survived_and_what_it_loses_is_known(sentinels) -> None:
    primary, ports = sentinels
    health: list[bool] = []
    url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "/sessions"
    store_ = RedisStore(parse(url), "test", 1, Limits(), 100, health.append)
    await store_.open()
    store = Verbs(store_)
    acknowledged: dict[str, int] = {}
    stop = False

    async def write(session_id: str) -> None:
        attempt = 0
        while not stop:
            try:
                key = RequestKey(f"{attempt}", b"")
                await store.update(ME, session_id, [Mutation("n", Increment(1))], ANY, key)
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            except SessionNotFound:
                return  # the replica never heard of it
            else:
                attempt += 1
                acknowledged[session_id] += 1

    for _ in range(16):
        acknowledged[(await store.create(ME, NewSession())).session_id] = 0
    writers = [asyncio.create_task(write(session_id)) for session_id in acknowledged]
    await asyncio.sleep(1)
    before = sum(acknowledged.values())
    primary.stop()
    began = time.monotonic()
    async with asyncio.timeout(40):
        while health[-1:] != [False]:
            await asyncio.sleep(0.01)
        while health[-1] is not True:
            await asyncio.sleep(0.02)
    took = time.monotonic() - began
    await asyncio.sleep(0.5)
    stop = True
    await asyncio.gather(*writers)
    after = sum(acknowledged.values())
    kept = 0
    for session_id in acknowledged:
        with contextlib.suppress(SessionNotFound):
            kept += int((await store.get(ME, session_id)).values.get("n", "0"))
    await store_.close()
    lost = after - kept
    print(f"failover took {took:.1f} s; of {before} updates acknowledged before it, and {after - before} after it,")
    print(f"{lost} are lost: replication had not brought them to the replica")
    assert after > before  # it went on
    assert 0 <= lost <= 200  # replication is asynchronous: what was on its way when the primary died
