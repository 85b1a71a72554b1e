"""The Redis store and its server: what happens when the server forgets, stands still, goes away or is shared."""

import asyncio
import contextlib
import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import hiredis
import pytest
from support.certificates import Authority
from support.processes import BIN, clean_environment, free_port, running
from support.redis_server import RedisServer, redis_server, shared_redis
from support.session_stores import redis
from support.session_verbs import Verbs

from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_service_pb2_grpc
from virtlease_chassis.redis_url import parse
from virtlease_session.errors import SessionEnded, SessionExpired, StoreUnavailable
from virtlease_session.limits import Limits
from virtlease_session.model import (
    ANY,
    Append,
    Create,
    Get,
    Increment,
    Mutation,
    NewSession,
    RequestKey,
    SessionState,
    Set,
    Update,
)
from virtlease_session.session_id import SHARDS
from virtlease_session.store.redis import RedisStore
from virtlease_session.store.redis.keys import SLOTS, Keys

ME = "acme/alice"
INCREMENT = [Mutation("n", Increment(1))]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@contextlib.asynccontextmanager
async def opened(url: str, *, timeout: float = 0.5, health: list[bool] | None = None) -> AsyncIterator[Verbs]:
    """A store on Redis' own clock."""
    told = health if health is not None else []
    store = RedisStore(parse(url), "test", timeout, Limits(), 100, told.append)
    await store.open()
    sweeping = asyncio.create_task(store.maintain(300))
    yield Verbs(store)
    sweeping.cancel()
    await store.close()


def ask(server: RedisServer, *words: str) -> object:
    """The server's reply to a command from outside of the store."""
    reader = hiredis.Reader(encoding="utf-8")
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(hiredis.pack_command(words))
        while (reply := reader.gets()) is False:
            data = connection.recv(65536)
            assert data, "the server hung up"
            reader.feed(data)
    return reply


async def until(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def test_the_shards_lie_evenly_over_the_slots_of_a_cluster() -> None:
    assert [slot // (SLOTS // SHARDS) for slot in Keys("any").slots] == list(range(SHARDS))


async def test_a_script_that_the_server_forgot_is_told_again(server) -> None:
    async with opened(server.url) as store:
        state = await store.create(ME, NewSession())
        ask(server, "SCRIPT", "FLUSH")
        calls = (store.update(ME, state.session_id, INCREMENT) for _ in range(20))
        await asyncio.gather(*calls)
        assert (await store.get(ME, state.session_id)).values == {"n": "20"}


async def test_s5_killed_connections_lose_no_update_and_double_none(server) -> None:
    """A write with a request id is sent again, and has its effect once; one without says that it cannot know."""
    async with opened(server.url) as store:
        state = await store.create(ME, NewSession())
        stop = threading.Event()

        def kill() -> None:
            while not stop.wait(0.01):
                ask(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        killer = asyncio.create_task(asyncio.to_thread(kill))
        done = 0
        try:
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                await until_answered(store, RequestKey(f"{done}", b"body"), state.session_id)
                done += 1
        finally:
            stop.set()
            await killer
        await until_answered(store, RequestKey("last", b"body"), state.session_id)
        assert (await store.get(ME, state.session_id)).values == {"n": str(done + 1)}
        assert done > 50


async def until_answered(store: Verbs, request: RequestKey, session_id: str) -> None:
    """Adds one, as a client does that retries."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(StoreUnavailable):
                await store.update(ME, session_id, INCREMENT, ANY, request)
                return
            await asyncio.sleep(0.01)


async def test_s5_a_restart_of_the_server_keeps_what_was_acknowledged(server) -> None:
    health: list[bool] = []
    async with opened(server.url, health=health) as store:
        state = await store.create(ME, NewSession(), RequestKey("create", b""))
        await store.update(ME, state.session_id, INCREMENT, ANY, RequestKey("once", b""))
        server.stop()
        with pytest.raises(StoreUnavailable):
            await store.update(ME, state.session_id, INCREMENT)
        await until(lambda: health == [False])
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):  # at once, now that it is known
            await store.get(ME, state.session_id)
        assert time.monotonic() - started < 0.4
        server.start()
        await until(lambda: health == [False, True])
        again = await store.update(ME, state.session_id, INCREMENT, ANY, RequestKey("once", b""))
        assert again.incremented == {"n": 1}
        assert (await store.create(ME, NewSession(), RequestKey("create", b""))).session_id == state.session_id
        assert (await store.get(ME, state.session_id)).values == {"n": "1"}


async def test_a_server_that_stands_still_is_given_up_on_and_found_again(server) -> None:
    health: list[bool] = []
    async with opened(server.url, health=health) as store:
        state = await store.create(ME, NewSession())
        server.pause()
        with pytest.raises(StoreUnavailable):
            async with asyncio.timeout(5):
                await store.update(ME, state.session_id, INCREMENT)
        await until(lambda: health == [False])
        with pytest.raises(StoreUnavailable):
            await store.watch(ME)
        with pytest.raises(StoreUnavailable):
            await store.list(ME, {}, 10, "")
        server.resume()
        await until(lambda: health == [False, True])
        await store.update(ME, state.session_id, [Mutation("m", Set("1"))])
        assert (await store.get(ME, state.session_id)).values["m"] == "1"


async def test_a_full_server_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", "--maxmemory", "6mb", "--maxmemory-policy", "noeviction") as server:
        async with opened(server.url) as store:
            first = await store.create(ME, NewSession(values={"a": "1"}))
            large = json.dumps("x" * 60_000)
            answers = await store.store.execute([Create(ME, NewSession(values={"large": large}))] * 200)
            assert isinstance(answers[0], SessionState)
            assert isinstance(answers[-1], StoreUnavailable)
            assert (await store.get(ME, first.session_id, touch=False)).values == {"a": "1"}
            await store.end(ME, first.session_id)  # what makes room is let through


async def test_a_server_that_speaks_tls_and_wants_a_password(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, port = authority.issue("redis"), free_port()
    options = (
        "--tls-port", str(port), "--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key),
        "--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "no", "--requirepass", "secret",
    )  # fmt: skip
    with redis_server(tmp_path / "redis", *options):
        url = f"127.0.0.1:{port}/2?ca={authority.certificate}"
        async with opened(f"rediss://:secret@{url}") as store:
            state = await store.create(ME, NewSession(values={"a": "1"}))
            assert (await store.get(ME, state.session_id)).values == {"a": "1"}
        for wrong in (f"rediss://:other@{url}", f"rediss://{url}", f"redis://:secret@127.0.0.1:{port}"):
            health: list[bool] = []
            async with opened(wrong, health=health) as store:
                assert health == [False]
                with pytest.raises(StoreUnavailable):
                    await store.create(ME, NewSession())


async def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    port, health = free_port(), list[bool]()
    async with opened(f"redis://127.0.0.1:{port}", health=health) as store:
        assert health == [False]
        with pytest.raises(StoreUnavailable):
            await store.create(ME, NewSession())
        server = RedisServer(tmp_path / "redis", port=port)
        try:
            await until(lambda: health == [False, True])
            await store.create(ME, NewSession())
        finally:
            server.stop()


@pytest.mark.parametrize("kind", ["distinct keys", "one counter", "one list"])
async def test_s1_no_update_is_lost_through_two_replicas(tmp_path: Path, kind: str) -> None:
    prefix = f"test-{secrets.token_hex(6)}"
    async with redis(tmp_path, prefix=prefix) as one, redis(tmp_path, prefix=prefix, clock=one.clock) as other:
        replicas = [Verbs(one.store), Verbs(other.store)]
        state = await replicas[0].create(ME, NewSession())

        async def writer(number: int) -> None:
            for step in range(10):
                mutation = {
                    "distinct keys": Mutation(f"k{number}", Set(str(step))),
                    "one counter": Mutation("n", Increment(1)),
                    "one list": Mutation("list", Append(f"[{number},{step}]")),
                }[kind]
                await replicas[number % 2].update(ME, state.session_id, [mutation])

        await asyncio.gather(*(writer(number) for number in range(64)))
        after = await replicas[1].get(ME, state.session_id)
        assert after.version == 1 + 64 * 10
        if kind == "distinct keys":
            assert after.values == {f"k{number}": "9" for number in range(64)}
        elif kind == "one counter":
            assert after.values == {"n": "640"}
        else:
            items = json.loads(after.values["list"])
            assert all([step for n, step in items if n == number] == list(range(10)) for number in range(64))


async def test_s7_a_watcher_at_one_replica_sees_what_others_do(tmp_path: Path) -> None:
    prefix = f"test-{secrets.token_hex(6)}"
    async with redis(tmp_path, prefix=prefix) as one, redis(tmp_path, prefix=prefix, clock=one.clock) as other:
        watcher = await one.store.watch(ME, "")
        state = await Verbs(other.store).create(ME, NewSession(idle_ttl=5000))
        (created,) = await watcher.events(5)
        assert created.session_id == state.session_id
        one.advance(6)
        sweeps = await asyncio.gather(one.sweep(), other.sweep())
        assert sweeps == [None, None]
        (expired,) = await watcher.events(5)
        assert expired.type.name == "EXPIRED"
        assert await watcher.events(0.1) == []  # two sweepers, one end
        assert one.store.tally.expired + other.store.tally.expired == 1
        watcher.close()


async def test_a_batch_is_one_round_trip(tmp_path: Path) -> None:
    """Counted at the server: all commands of a batch are read together."""
    async with redis(tmp_path) as tested:
        store = Verbs(tested.store)
        states = await asyncio.gather(*(store.create(ME, NewSession()) for _ in range(32)))
        before = _reads(shared_redis())
        answers = await tested.store.execute([Update(ME, state.session_id, INCREMENT) for state in states])
        assert len(answers) == 32
        assert _reads(shared_redis()) - before <= 6  # the batch, and this count itself
        # Several verbs on one session keep their order, whatever it costs
        one = states[0].session_id
        batch = [Update(ME, one, [Mutation("list", Append(str(number)))]) for number in range(20)]
        *_, last = await tested.store.execute([*batch, Get(ME, one)])
        assert json.loads(last.values["list"]) == list(range(20))


def _reads(server: RedisServer) -> int:
    info = str(ask(server, "INFO", "stats"))
    return int(info.split("total_reads_processed:")[1].split()[0])


async def test_s3_expiry_on_the_clock_of_the_server(server) -> None:
    async with opened(server.url) as store:
        watcher = await store.watch(ME)
        state = await store.create(ME, NewSession(idle_ttl=1000))
        assert abs(state.now - time.time() * 1000) < 2000
        assert (await watcher.events(5))[0].type.name == "CREATED"
        began = time.monotonic()
        (event,) = await watcher.events(5)
        assert event.type.name == "EXPIRED"
        assert 0.8 < time.monotonic() - began < 3  # never early, late by two seconds at most
        with pytest.raises(SessionExpired):
            await store.get(ME, state.session_id)
        assert store.store.tally.live == 0
        watcher.close()


async def test_s2_a_session_that_ended_leaves_nothing_behind_but_its_grave(server) -> None:
    async with opened(server.url) as store:
        for _ in range(5):
            state = await store.create(ME, NewSession(values={"a": "1"}))
            await store.end(ME, state.session_id)
        keys = ask(server, "KEYS", "*")
        assert len(keys) == 5  # the graves, and no index, deadline or stream
        assert all(0 < ask(server, "PTTL", key) <= 600_000 for key in keys)
        with pytest.raises(SessionEnded):
            await store.get(ME, state.session_id)


async def test_s2_an_id_that_is_used_anew_does_not_end_with_the_grave_it_stands_on(server) -> None:
    async with opened(server.url) as store:
        await store.create(ME, NewSession("mine"))
        await store.end(ME, "mine")
        await store.create(ME, NewSession("mine"))
        (key,) = ask(server, "KEYS", "*:s:mine:*")
        assert ask(server, "PTTL", key) == -1
        assert ask(server, "HEXISTS", key, "_x") == 0


async def test_s5_a_write_without_a_request_id_is_not_sent_twice(server) -> None:
    """Nobody can know whether it had its effect: that is what its caller is told."""
    async with opened(server.url, timeout=5) as store:
        state = await store.create(ME, NewSession())
        server.pause()
        update = asyncio.create_task(store.update(ME, state.session_id, INCREMENT))
        await asyncio.sleep(0.1)
        (node,) = store.store._topology.nodes
        node.reconnect()
        with pytest.raises(StoreUnavailable):
            await update
        server.resume()
        assert (await store.get(ME, state.session_id)).values in ({}, {"n": "1"})


@pytest.mark.parametrize("cancel_after", range(6))
async def test_s1_a_cancelled_call_has_its_effect_whole_or_not_at_all(tmp_path: Path, cancel_after: int) -> None:
    async with redis(tmp_path) as tested:
        store = Verbs(tested.store)
        state = await store.create(ME, NewSession())
        both = [Mutation("a", Increment(1)), Mutation("b", Increment(1))]
        call = asyncio.create_task(store.update(ME, state.session_id, both))
        other = asyncio.create_task(store.update(ME, state.session_id, [Mutation("c", Increment(1))]))
        for _ in range(cancel_after):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await other).incremented == {"c": 1}
        values = (await store.get(ME, state.session_id)).values
        assert (values.get("a"), values.get("b")) in [("1", "1"), (None, None)]


def test_several_workers_are_refused_where_everything_is_one_process(tmp_path: Path) -> None:
    env = clean_environment(
        VIRTLEASE_SESSION_WORKERS="2",
        VIRTLEASE_SESSION_REDIS_URL=shared_redis().url,
        VIRTLEASE_METRICS_ADDRESS="127.0.0.1:0",
    )
    done = subprocess.run([str(BIN / "virtlease"), "up"], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "VIRTLEASE_SESSION_WORKERS: only `virtlease session` can be several processes" in done.stderr


def test_several_workers_serve_one_address(tmp_path: Path, server) -> None:
    address = f"127.0.0.1:{free_port()}"
    env = clean_environment(
        VIRTLEASE_SESSION_ADDRESS=address,
        VIRTLEASE_SESSION_WORKERS="2",
        VIRTLEASE_SESSION_REDIS_URL=server.url,
        VIRTLEASE_METRICS_ADDRESS="127.0.0.1:0",
    )
    with running(tmp_path, "session", sys.executable, "-m", "virtlease_session", env=env) as process:
        deadline = time.monotonic() + 40
        while process.log.count("session service on") < 2:
            assert time.monotonic() < deadline, process.log
            time.sleep(0.05)
        ids = set()
        for _ in range(20):  # each on a connection of its own: the kernel deals them out
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(address, options) as channel:
                stub = session_service_pb2_grpc.SessionServiceStub(channel)
                ids.add(stub.CreateSession(calls.CreateSessionRequest(), timeout=5).session.session_id)
                listed = stub.ListSessions(calls.ListSessionsRequest(), timeout=5)
                assert {session.session_id for session in listed.sessions} == ids
        assert process.terminate() == 0
