"""Many callers at once, through the store, unary gRPC and the Pipeline: every answer is true, and nothing is lost."""

import asyncio
import contextlib
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.fastmcp_sessions import fastmcp_session
from support.histories import UNKNOWN, Call, History, check_versions, linearizable
from support.needs import need
from support.processes import clean_environment, free_port, running
from support.session_server import Clients, clients_of, serve_sessions
from support.session_stores import KINDS, StoreUnderTest
from support.session_verbs import Verbs

from virtlease.client import CallFailed
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2 as pb
from virtlease_session.model import Append, Delete, Increment, Mutation, NewSession, Set

ME = "default/anonymous"
WRITERS = 64
Update = Callable[..., Awaitable[tuple[str, dict[str, int]]]]


@dataclass
class Place:
    """A store with a session in it, and the ways to that session."""

    tested: StoreUnderTest
    clients: Clients
    session_id: str

    def request(self, *mutations: pb.Mutation, etag: str = "") -> calls.UpdateSessionRequest:
        return calls.UpdateSessionRequest(session_id=self.session_id, mutations=mutations, etag=etag)

    async def by_unary(self, *mutations: pb.Mutation, etag: str = "") -> tuple[str, dict[str, int]]:
        """The etag and the sums of an update. Raises CallFailed."""
        try:
            answer = await self.clients.stub.UpdateSession(self.request(*mutations, etag=etag), timeout=30)
        except grpc.aio.AioRpcError as error:
            raise CallFailed.from_rpc_error(error) from None
        return answer.etag, dict(answer.incremented)

    async def by_pipeline(self, *mutations: pb.Mutation, etag: str = "") -> tuple[str, dict[str, int]]:
        answer = await self.clients.pipeline.update(self.request(*mutations, etag=etag), timeout=30)
        return answer.etag, dict(answer.incremented)

    async def in_process(self, *mutations: pb.Mutation) -> tuple[str, dict[str, int]]:
        plain = [Mutation(each.key, _operation(each)) for each in mutations]
        answer = await Verbs(self.tested.store).update(ME, self.session_id, plain)
        return answer.etag, dict(answer.incremented)

    async def get(self) -> pb.Session:
        request = calls.GetSessionRequest(session_id=self.session_id, peek=True)
        return (await self.clients.stub.GetSession(request, timeout=30)).session


def _operation(message: pb.Mutation) -> Any:
    match message.WhichOneof("operation"):
        case "set":
            return Set(message.set)
        case "delete":
            return Delete()
        case "increment":
            return Increment(message.increment)
    return Append(message.append.item)


@contextlib.asynccontextmanager
async def place(kind: str, folder: Path) -> AsyncIterator[Place]:
    async with (
        KINDS[kind](folder) as tested,
        serve_sessions(tested.store) as server,
        clients_of(server.addresses[0].port) as clients,
    ):
        created = await Verbs(tested.store).create(ME, NewSession())
        yield Place(tested, clients, created.session_id)


def version_of(etag: str) -> int:
    return int(etag.rpartition("-")[2])


# What each writer does at each step. The keys of "delete and set" are the writer's own.
MUTATIONS: dict[str, Callable[[int, int], list[pb.Mutation]]] = {
    "distinct keys": lambda writer, step: [pb.Mutation(key=f"k{writer}", set=str(step))],
    "one counter": lambda _writer, _step: [pb.Mutation(key="n", increment=1)],
    "one list": lambda writer, step: [pb.Mutation(key="l", append=pb.Append(item=f"[{writer},{step}]"))],
    "delete and set": lambda writer, step: [
        pb.Mutation(key=f"k{writer}", delete=True),
        pb.Mutation(key=f"m{writer}", set=str(step)),
    ],
    "several together": lambda writer, _step: [
        pb.Mutation(key="left", increment=1),
        pb.Mutation(key="right", increment=-1),
        pb.Mutation(key=f"k{writer}", increment=1),
    ],
}
STEPS = 5


@pytest.mark.parametrize("way", ["in process", "unary", "pipeline"])
@pytest.mark.parametrize("kind", KINDS)
async def test_s1_64_writers_lose_nothing(kind: str, way: str, tmp_path: Path) -> None:
    for number, mutation in enumerate(MUTATIONS.values()):
        async with place(kind, tmp_path / str(number)) as here:
            update: Update = {"in process": here.in_process, "unary": here.by_unary, "pipeline": here.by_pipeline}[way]
            versions: list[int] = []

            async def writer(who: int, update: Update, mutation: Any, versions: list[int]) -> None:
                for step in range(STEPS):
                    etag, _ = await update(*mutation(who, step))
                    versions.append(version_of(etag))

            await asyncio.gather(*(writer(who, update, mutation, versions) for who in range(WRITERS)))
            seen = await here.get()
        # Each acknowledged update made a version of its own, and none is missing
        assert sorted(versions) == list(range(2, WRITERS * STEPS + 2))
        assert version_of(seen.etag) == WRITERS * STEPS + 1
        values = {key: json.loads(value) for key, value in seen.values.items()}
        assert values == _folded(list(MUTATIONS)[number], values)


def _folded(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """What the values must be after all updates, in whatever order they happened."""
    everyone = range(WRITERS)
    match name:
        case "distinct keys":
            return {f"k{who}": STEPS - 1 for who in everyone}
        case "one counter":
            return {"n": WRITERS * STEPS}
        case "one list":
            assert Counter(map(tuple, values["l"])) == Counter((who, step) for who in everyone for step in range(STEPS))
            assert all([step for who, step in values["l"] if who == one] == list(range(STEPS)) for one in everyone)
            return {"l": values["l"]}
        case "delete and set":
            return {f"m{who}": STEPS - 1 for who in everyone}
    total = WRITERS * STEPS
    return {"left": total, "right": -total, **{f"k{who}": STEPS for who in everyone}}


@pytest.mark.parametrize("kind", KINDS)
async def test_s1_read_change_and_write_back_by_etag(kind: str, tmp_path: Path) -> None:
    """What a caller makes of what they read is written only if nobody wrote in between."""
    async with place(kind, tmp_path) as here:

        async def writer(update: Update) -> None:
            for _ in range(4):
                while True:
                    seen = await here.get()
                    value = str(int(seen.values.get("n", "0")) + 1)
                    try:
                        await update(pb.Mutation(key="n", set=value), etag=seen.etag)
                        break
                    except CallFailed as failure:
                        if failure.reason != "SESSION_CONFLICT":
                            raise
                        await asyncio.sleep(random.uniform(0, 0.01))

        await asyncio.gather(*(writer(here.by_pipeline if who % 2 else here.by_unary) for who in range(12)))
        assert (await here.get()).values["n"] == "48"


async def test_fastmcp_sessions_lose_updates(tmp_path: Path) -> None:
    """The negative control: what the tests above look for is there to be found."""
    need("redis-server")
    port = free_port()
    command = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path))
    with running(tmp_path, "redis", *command, env=clean_environment()) as redis:
        redis.wait_for("Ready to accept connections")
        async with fastmcp_session(port) as session:
            await asyncio.gather(*(session.set(f"k{who}", who) for who in range(WRITERS)))
            kept = [await session.get(f"k{who}") for who in range(WRITERS)]
    assert kept.count(None) > 0


# Histories


async def recorded(here: Place, callers: int, steps: int, seed: int) -> list[Call]:
    """What callers who read, add, and add on a condition at the same time were told; some go away without an answer."""
    history, chance = History(), random.Random(seed)

    async def one(update: Update) -> None:
        begun, add = history.now(), chance.randint(1, 5)
        kind = chance.choice(["read", "add", "add", "conditional", "lost"])
        if kind == "read":
            seen = await here.get()
            history.calls.append(
                Call(begun, history.now(), version=version_of(seen.etag), value=int(seen.values.get("n", "0")))
            )
            return
        only_if, etag = None, ""
        if kind == "conditional":
            etag = (await here.get()).etag
            only_if, begun = version_of(etag), history.now()
        task = asyncio.ensure_future(update(pb.Mutation(key="n", increment=add), etag=etag))
        if kind == "lost":
            for _ in range(chance.randint(0, 4)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            made, sums = await task
        except asyncio.CancelledError:
            history.calls.append(Call(begun, UNKNOWN, add=add))
        except CallFailed as failure:
            if failure.reason != "SESSION_CONFLICT":
                raise
            version = version_of(failure.metadata["etag"])
            history.calls.append(Call(begun, history.now(), add=add, only_if=only_if, version=version, refused=True))
        else:
            history.calls.append(
                Call(begun, history.now(), add=add, only_if=only_if, version=version_of(made), value=sums["n"])
            )

    async def caller(update: Update) -> None:
        for _ in range(steps):
            await one(update)

    await asyncio.gather(*(caller(here.by_pipeline if who % 2 else here.by_unary) for who in range(callers)))
    return history.calls


@pytest.mark.parametrize("kind", KINDS)
async def test_s1_the_versions_of_a_long_history_are_in_order(kind: str, tmp_path: Path) -> None:
    async with place(kind, tmp_path) as here:
        found = await recorded(here, callers=16, steps=40, seed=3)
        assert sum(not call.known for call in found) > 5
        assert sum(call.refused for call in found) > 5
        assert check_versions(found) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_s1_short_histories_are_linearizable(kind: str, tmp_path: Path) -> None:
    for seed in range(15):
        async with place(kind, tmp_path / str(seed)) as here:
            assert linearizable(await recorded(here, callers=4, steps=5, seed=seed))


# Callers who go away


@pytest.mark.parametrize("kind", KINDS)
async def test_s4_no_answer_reaches_the_wrong_caller_in_a_storm_of_cancels(kind: str, tmp_path: Path) -> None:
    async with place(kind, tmp_path) as here:
        pipeline, chance, wrong = here.clients.pipeline, random.Random(11), []
        asked, answered = Counter[str](), Counter[str]()

        async def call(session_id: str) -> None:
            if chance.random() < 0.5:
                asked[session_id] += 1
                mutations = [pb.Mutation(key=f"of {session_id}", increment=1)]
                request = calls.UpdateSessionRequest(session_id=session_id, mutations=mutations)
                sums = (await pipeline.update(request, timeout=10)).incremented
                answered[session_id] += 1
                if list(sums) != [f"of {session_id}"]:
                    wrong.append((session_id, sums))
            else:
                session = (await pipeline.get(calls.GetSessionRequest(session_id=session_id), timeout=10)).session
                if session.session_id != session_id or set(session.values) - {f"of {session_id}"}:
                    wrong.append((session_id, session))

        async def caller(session_id: str) -> None:
            for _ in range(40):
                task = asyncio.ensure_future(call(session_id))
                if chance.random() < 0.4:
                    await asyncio.sleep(chance.choice([0, 0, 0.0005, 0.002]))
                    task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()

        made = [(await pipeline.create(calls.CreateSessionRequest(), timeout=5)).session.session_id for _ in range(40)]
        await asyncio.gather(*(caller(session_id) for session_id in made))
        assert wrong == []
        assert sum(asked.values()) - sum(answered.values()) > 50, "it was no storm"
        for session_id in made:
            seen = await pipeline.get(calls.GetSessionRequest(session_id=session_id), timeout=10)
            count = int(seen.session.values.get(f"of {session_id}", "0"))
            assert answered[session_id] <= count <= asked[session_id]
            assert re.fullmatch(rf".*-{count + 1}", seen.session.etag)
