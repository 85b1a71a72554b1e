"""Three masters, whose slots move and one of which goes away while clients write."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.needs import need
from support.redis_server import RedisServer
from support.session_verbs import Verbs

from virtlease_chassis.redis_url import parse
from virtlease_session.errors import StoreUnavailable
from virtlease_session.limits import Limits
from virtlease_session.model import ANY, Increment, Mutation, NewSession, RequestKey
from virtlease_session.store.redis import RedisStore

ME = "acme/alice"
MASTERS = 3


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[RedisServer]]:
    need("redis-server", "redis-cli")
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
    with contextlib.ExitStack() as stack:
        servers = []
        for number in range(MASTERS):
            server = RedisServer(tmp_path / f"redis{number}", *options)
            stack.callback(server.stop)
            servers.append(server)
        hosts = [f"127.0.0.1:{server.port}" for server in servers]
        redis_cli("--cluster", "create", *hosts, "--cluster-yes")
        for server in servers:
            until_ok(server)
        yield servers


def redis_cli(*words: str) -> str:
    done = subprocess.run(["redis-cli", *words], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def until_ok(server: RedisServer) -> None:
    for _ in range(200):
        if "cluster_state:ok" in redis_cli("-p", str(server.port), "cluster", "info"):
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("the cluster did not come up")


@contextlib.asynccontextmanager
async def opened(servers: list[RedisServer], health: list[bool] | None = None) -> AsyncIterator[Verbs]:
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    told = health if health is not None else []
    store = RedisStore(parse(url), "test", 2, Limits(), 100_000, told.append)
    await store.open()
    sweeping = asyncio.create_task(store.maintain(300))
    yield Verbs(store)
    sweeping.cancel()
    await store.close()


class Writers:
    """Each adds one to a counter of its own session, again and again, and counts what was acknowledged."""

    def __init__(self, store: Verbs, count: int) -> None:
        self._store = store
        self._count = count
        self.acknowledged: dict[str, int] = {}
        self.refused = 0
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Writers":
        for _ in range(self._count):
            state = await self._store.create(ME, NewSession())
            self.acknowledged[state.session_id] = 0
        self._tasks = [asyncio.create_task(self._write(session_id)) for session_id in self.acknowledged]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _write(self, session_id: str) -> None:
        while not self._stop:
            request = RequestKey(f"{self.acknowledged[session_id]}", b"")
            try:
                await self._store.update(ME, session_id, [Mutation("n", Increment(1))], ANY, request)
            except StoreUnavailable:
                self.refused += 1
                await asyncio.sleep(0.05)
            else:
                self.acknowledged[session_id] += 1

    async def counted(self) -> dict[str, int]:
        """What the store has."""
        return {
            session_id: int((await self._store.get(ME, session_id)).values.get("n", "0"))
            for session_id in self.acknowledged
        }


async def test_s1_s5_a_reshard_under_load_loses_and_doubles_nothing(cluster) -> None:
    async with opened(cluster) as store:
        watcher = await store.watch(ME)
        async with Writers(store, 24) as writers:
            await asyncio.sleep(0.5)
            ids = [redis_cli("-p", str(server.port), "cluster", "myid").strip() for server in cluster]
            for source, target in ((0, 1), (1, 2), (2, 0)):
                await asyncio.to_thread(
                    redis_cli, "--cluster", "reshard", f"127.0.0.1:{cluster[0].port}",
                    "--cluster-from", ids[source], "--cluster-to", ids[target],
                    "--cluster-slots", "3000", "--cluster-yes",
                )  # fmt: skip
            await asyncio.sleep(0.3)
        assert await writers.counted() == writers.acknowledged
        total = sum(writers.acknowledged.values())
        print(f"{total} acknowledged while 9,000 slots moved, {writers.refused} refused, none lost, none twice")
        assert total > 500
        # Everything that is found by walking the shards is where it should be
        assert len((await store.list(ME, {}, 100, "")).sessions) == 24
        seen: dict[str, int] = {}
        while sum(seen.values()) < total + 24:
            events = await watcher.events(12)
            assert events, f"{sum(seen.values())} of {total + 24} changes"
            for event in events:
                seen[event.session_id] = seen.get(event.session_id, 0) + 1
        watcher.close()


async def test_s5_a_master_that_is_away_takes_only_its_shards_with_it(cluster) -> None:
    health: list[bool] = []
    async with opened(cluster, health) as store:
        states = [await store.create(ME, NewSession()) for _ in range(30)]
        cluster[1].pause()
        await asyncio.sleep(0.1)
        answered = refused = 0
        async with asyncio.timeout(15):
            for state in states:
                try:
                    await store.update(ME, state.session_id, [Mutation("n", Increment(1))], ANY, RequestKey("a", b""))
                    answered += 1
                except StoreUnavailable:
                    refused += 1
        assert answered > 5
        assert refused > 2
        assert health[-1] is False
        cluster[1].resume()
        async with asyncio.timeout(20):
            while not health[-1]:
                await asyncio.sleep(0.05)
            for state in states:
                while True:
                    with contextlib.suppress(StoreUnavailable):
                        await store.update(
                            ME, state.session_id, [Mutation("n", Increment(1))], ANY, RequestKey("a", b"")
                        )
                        break
                    await asyncio.sleep(0.05)
        for state in states:
            assert (await store.get(ME, state.session_id)).values == {"n": "1"}
