"""Sessions of all kinds come and go through the real service for a long time, and it grows by nothing.

SECONDS says how long, for each store; QUICK=1 makes it short. Flat means: after a warm-up, the resident memory grows by
less than 5 MiB over the second half, and the descriptors are as many at its end as at its beginning.
"""

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.process_figures import descriptors, resident_bytes
from support.processes import clean_environment, free_port, running
from support.redis_server import shared_redis
from support.session_server import Clients, clients_of

from virtlease.client import CallFailed
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2 as pb
from virtlease.session.v1 import watch_pb2

QUICK = os.environ.get("QUICK") == "1"
SECONDS = float(os.environ.get("SECONDS") or (40 if QUICK else 600))
SPEED = 60  # ten minutes in ten seconds
WARM_UP = 15.0
MOST_GROWTH = 5 * 1024 * 1024
CHURNERS, PAUSE = 16, 0.004
STORES: dict[str, Callable[[Path], dict[str, str]]] = {
    "memory": lambda _: {},
    "sqlite": lambda folder: {"VIRTLEASE_SESSION_DATA_DIR": str(folder / "data")},
    "redis": lambda _: {"VIRTLEASE_SESSION_REDIS_URL": shared_redis().url},
}

pytestmark = pytest.mark.timeout(SECONDS + WARM_UP + 120)


@contextlib.asynccontextmanager
async def service(folder: Path, **settings: str) -> AsyncIterator[tuple[int, int]]:
    """The port and the process of a service whose time flies."""
    port = free_port()
    env = clean_environment(
        VIRTLEASE_SESSION_ADDRESS=f"127.0.0.1:{port}",
        VIRTLEASE_METRICS_ADDRESS="127.0.0.1:0",
        VIRTLEASE_SESSION_CLEANUP_INTERVAL="1",
        SPEED=str(SPEED),
        **settings,
    )
    command = (sys.executable, str(Path(__file__).with_name("fast_service.py")))
    with running(folder, "session", *command, env=env) as process:
        process.wait_for("session service on")
        yield port, process.process.pid


class Churn:
    """What callers do all day, some of it wrong."""

    def __init__(self, clients: Clients, port: int, seed: int) -> None:
        self.clients = clients
        self.port = port
        self.chance = random.Random(seed)
        self.lives = 0

    async def life(self) -> None:
        """One session, from its beginning to some end."""
        pipeline, chance = self.clients.pipeline, self.chance
        create = calls.CreateSessionRequest(
            values={"text": '"some text"', "n": "0"}, labels={"of": str(chance.random())}
        )
        create.idle_ttl.seconds = chance.choice([30, 60, 120])
        session_id = (await pipeline.create(create, timeout=10)).session.session_id
        for _ in range(chance.randint(1, 6)):
            await self.use(session_id)
            await asyncio.sleep(PAUSE)
        if chance.random() < 0.5:
            await self.quietly(pipeline.end(calls.EndSessionRequest(session_id=session_id), timeout=10))
            await self.quietly(pipeline.get(calls.GetSessionRequest(session_id=session_id), timeout=10))
        self.lives += 1

    async def use(self, session_id: str) -> None:
        """One call, of any kind."""
        pipeline, stub, chance = self.clients.pipeline, self.clients.stub, self.chance
        update = calls.UpdateSessionRequest(session_id=session_id)
        update.mutations.add(key="n", increment=1)
        update.mutations.add(key=f"k{chance.randrange(4)}", set=f'"{chance.random()}"')
        update.mutations.add(key="list").append.item = str(chance.random())
        update.mutations[-1].append.max_items = 20
        wrong = calls.UpdateSessionRequest(session_id=session_id, mutations=[pb.Mutation(key="text", increment=1)])
        match chance.randrange(8):
            case 0:
                await self.quietly(stub.UpdateSession(update, timeout=10))
            case 1:
                await self.quietly(stub.GetSession(calls.GetSessionRequest(session_id=session_id), timeout=10))
            case 2:
                await self.quietly(pipeline.refresh(calls.RefreshSessionRequest(session_id=session_id), timeout=10))
            case 3:
                await self.quietly(pipeline.update(wrong, timeout=10))
                await self.quietly(stub.UpdateSession(calls.UpdateSessionRequest(session_id="é"), timeout=10))
            case 4:
                cut = asyncio.ensure_future(pipeline.update(update, timeout=10))
                await asyncio.sleep(0)
                cut.cancel()
                await asyncio.wait([cut])
            case 5 if chance.random() < 0.1:
                await self.watch_and_leave()
            case 6 if chance.random() < 0.1:
                await self.come_and_go()
            case _:
                await self.quietly(pipeline.update(update, timeout=10))

    async def watch_and_leave(self) -> None:
        """A watch of whom nobody sees the end."""
        watch = self.clients.stub.WatchSessions(watch_pb2.WatchSessionsRequest())
        await watch.read()
        await self.quietly(self.clients.stub.ListSessions(calls.ListSessionsRequest(page_size=20), timeout=10))
        watch.cancel()

    async def come_and_go(self) -> None:
        """A client of its own, with a stream that it leaves open when it goes."""
        async with clients_of(self.port) as others:
            await others.pipeline.create(calls.CreateSessionRequest(), timeout=10)

    async def quietly(self, call: Any) -> None:
        """A call that may be refused, as a session may have ended by then."""
        try:
            await call
        except (CallFailed, grpc.aio.AioRpcError) as error:
            code = error.code if isinstance(error, CallFailed) else error.code()
            if code not in (
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.FAILED_PRECONDITION,
            ):
                raise


@pytest.mark.parametrize("kind", STORES)
async def test_sessions_come_and_go_and_the_service_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    async with service(tmp_path, **STORES[kind](tmp_path)) as (port, pid):
        stop = False

        async def churner(churn: Churn) -> None:
            while not stop:
                await churn.life()

        async with clients_of(port) as clients:
            churns = [Churn(clients, port, seed) for seed in range(CHURNERS)]
            tasks = [asyncio.create_task(churner(churn)) for churn in churns]
            begun = time.monotonic()
            await watched(tasks, WARM_UP + SECONDS / 2)
            middle, files = resident_bytes(pid), await settled(pid)
            await watched(tasks, SECONDS / 2)
            stop = True
            await asyncio.gather(*tasks)
            end = resident_bytes(pid)
            lives = sum(churn.lives for churn in churns)
            took = f"{lives} sessions in {time.monotonic() - begun:.0f} s"
            memory = f"{middle / 2**20:.1f} MiB in the middle, {end / 2**20:.1f} MiB at the end"
            print(f"\n{kind}: {took}, {memory}, {files} descriptors")
            assert lives > SECONDS * 10
            assert end - middle < MOST_GROWTH
            assert await settled(pid) == files


async def watched(tasks: list[asyncio.Task[None]], seconds: float) -> None:
    """Waits, unless one of them fails."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


async def settled(pid: int) -> int:
    """The descriptors: the fewest in a while, as connections of callers come and go."""
    found = []
    for _ in range(100):
        found.append(descriptors(pid))
        await asyncio.sleep(0.02)
    return min(found)
