"""SIGKILL at random points: what was acknowledged is there, what was not is there whole or not at all.

`ROUNDS` says how often. The folder is the same in all rounds, so that each one also finds what the others left.
SIGKILL does not lose what the system has in its caches; that writes are synced is shown by counting, further down.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.needs import need
from support.processes import BIN, Running, clean_environment, free_port, running

from virtlease.client import CallFailed, SessionPipeline
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_service_pb2_grpc as rpc

ROUNDS = int(os.environ.get("ROUNDS", "40"))
pytestmark = pytest.mark.timeout(60 + 10 * ROUNDS)
_WRITERS = 16
_LOAD_SECONDS = 0.4


class Writer:
    """Adds 1 to two keys of its session and appends the number, one update after the other, and knows what it was told.

    `acked` updates were answered. `pending` is one that was not: it may have had its effect.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.acked = 0
        self.pending: calls.UpdateSessionRequest | None = None

    def next_update(self) -> calls.UpdateSessionRequest:
        number = self.acked + 1
        request = calls.UpdateSessionRequest(session_id=self.session_id, request_id=f"update-{number}")
        for key in ("left", "right"):
            request.mutations.add(key=key, increment=1)
        request.mutations.add(key="numbers").append.item = str(number)
        request.mutations[-1].append.max_items = 50
        return request

    async def write(self, pipeline: SessionPipeline) -> None:
        while True:
            self.pending = self.next_update()
            await pipeline.update(self.pending, timeout=10)
            self.acked, self.pending = self.acked + 1, None

    def check(self, session: calls.GetSessionResponse) -> None:
        """Fails unless the session is as the acknowledgements say."""
        values = {key: json.loads(text) for key, text in session.session.values.items()}
        count = values.get("left", 0)
        assert values.get("right", 0) == count, "half an update"
        assert values.get("numbers", []) == list(range(1, count + 1))[-50:]
        assert self.acked <= count <= self.acked + (self.pending is not None)


class Mortal:
    """Makes sessions and ends them, until it cannot."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.living: set[str] = set()
        self.ended: set[str] = set()

    async def write(self, stub: rpc.SessionServiceStub) -> None:
        for number in itertools.count():
            session_id = f"{self.name}-{number}"
            await stub.CreateSession(calls.CreateSessionRequest(session_id=session_id))
            self.living.add(session_id)
            if number % 2:
                self.living.discard(session_id)  # from now on it may be either
                await stub.EndSession(calls.EndSessionRequest(session_id=session_id))
                self.ended.add(session_id)

    async def check(self, stub: rpc.SessionServiceStub) -> None:
        for session_id in self.living:
            await stub.GetSession(calls.GetSessionRequest(session_id=session_id))
            await stub.EndSession(calls.EndSessionRequest(session_id=session_id))
        for session_id in self.ended:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetSession(calls.GetSessionRequest(session_id=session_id))
            assert CallFailed.from_rpc_error(caught.value).reason == "SESSION_ENDED"


@contextlib.contextmanager
def session_process(folder: Path, data: Path, *prefix: str, wait: bool = True) -> Iterator[tuple[str, Running]]:
    address = f"127.0.0.1:{free_port()}"
    env = clean_environment(VIRTLEASE_SESSION_ADDRESS=address, VIRTLEASE_METRICS_ADDRESS="127.0.0.1:0")
    command = (*prefix, str(BIN / "virtlease"), "session", "--data-dir", str(data))
    with running(folder, "session", *command, env=env) as process:
        if wait:
            process.wait_for("session service on")
        yield address, process


async def test_s6_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    writers: list[Writer] = []
    mortals: list[Mortal] = []
    for number in range(ROUNDS):
        if number % 5 == 4:  # also while it reads what it finds
            with session_process(tmp_path, tmp_path / "data", wait=False) as (_, process):
                time.sleep(random.uniform(0.2, 1.2))
                process.process.send_signal(signal.SIGKILL)
        with session_process(tmp_path, tmp_path / "data") as (address, process):
            async with grpc.aio.insecure_channel(address) as channel:
                stub = rpc.SessionServiceStub(channel)
                pipeline = SessionPipeline(channel, patience=0.1)
                for writer in writers:
                    writer.check(await stub.GetSession(calls.GetSessionRequest(session_id=writer.session_id)))
                    if writer.pending is not None:  # under the same request id it has its effect once
                        await pipeline.update(writer.pending, timeout=10)
                        writer.acked, writer.pending = writer.acked + 1, None
                        writer.check(await stub.GetSession(calls.GetSessionRequest(session_id=writer.session_id)))
                for mortal in mortals:
                    await mortal.check(stub)
                mortals = [Mortal(f"mortal-{number}-{each}") for each in range(4)]
                while len(writers) < _WRITERS:
                    writers.append(Writer((await stub.CreateSession(calls.CreateSessionRequest())).session.session_id))
                load = [asyncio.create_task(writer.write(pipeline)) for writer in writers]
                load += [asyncio.create_task(mortal.write(stub)) for mortal in mortals]
                await asyncio.sleep(random.uniform(0, _LOAD_SECONDS))
                process.process.send_signal(signal.SIGKILL)
                outcomes = await asyncio.gather(*load, return_exceptions=True)
                assert all(isinstance(each, CallFailed | grpc.aio.AioRpcError) for each in outcomes), outcomes
                await pipeline.close()
    print(f"\n{ROUNDS} kills, {sum(writer.acked for writer in writers)} acknowledged updates, none lost")
    assert sum(writer.acked for writer in writers) > ROUNDS


async def test_s6_what_is_acknowledged_was_synced(tmp_path: Path) -> None:
    """One writer alone: each of its updates is a group of its own, and so a sync of its own.

    The disk is made slow, so that an answer which does not wait for it is always seen to come too early.
    """
    need("strace")
    trace = tmp_path / "trace"
    updates = 50
    strace = (
        "strace", "-D", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_exit=30000",
        "-o", str(trace),
    )  # fmt: skip
    with session_process(tmp_path, tmp_path / "data", *strace) as (address, _):
        async with grpc.aio.insecure_channel(address) as channel:
            stub = rpc.SessionServiceStub(channel)
            writer = Writer((await stub.CreateSession(calls.CreateSessionRequest())).session.session_id)
            before = _syncs(trace)
            for _ in range(updates):
                await stub.UpdateSession(writer.next_update())
                writer.acked += 1
            assert _syncs(trace) - before >= updates


def _syncs(trace: Path) -> int:
    return trace.read_text().count("= 0")
