"""WatchSessions over real gRPC."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from support.session_server import serve_sessions

from virtlease.client import CallFailed
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2, session_service_pb2_grpc, watch_pb2
from virtlease_chassis.clock import SystemClock
from virtlease_session.limits import Limits
from virtlease_session.store.memory import MemoryStore

CREATED = watch_pb2.SESSION_EVENT_TYPE_CREATED
UPDATED = watch_pb2.SESSION_EVENT_TYPE_UPDATED
REFRESHED = watch_pb2.SESSION_EVENT_TYPE_REFRESHED
EXPIRED = watch_pb2.SESSION_EVENT_TYPE_EXPIRED
ENDED = watch_pb2.SESSION_EVENT_TYPE_ENDED


@contextlib.asynccontextmanager
async def service(history: int = 1000) -> AsyncIterator[tuple[Any, Any]]:
    """A server and a stub of it."""
    store = MemoryStore(SystemClock(), Limits(), history)
    maintenance = asyncio.create_task(store.maintain(300))
    async with serve_sessions(store) as server, grpc.aio.insecure_channel(str(server.addresses[0])) as channel:
        yield server, session_service_pb2_grpc.SessionServiceStub(channel)
    maintenance.cancel()


class Watch:
    """One watch, read message by message."""

    def __init__(self, stub: Any, **request: Any) -> None:
        self._stream = stub.WatchSessions(watch_pb2.WatchSessionsRequest(**request))
        self.token = ""

    async def read(self) -> list[watch_pb2.SessionEvent]:
        response = await asyncio.wait_for(self._stream.read(), 10)
        assert response is not grpc.aio.EOF
        self.token = response.resume_token
        return list(response.events)

    async def until(self, count: int) -> list[watch_pb2.SessionEvent]:
        found: list[watch_pb2.SessionEvent] = []
        while len(found) < count:
            found += await self.read()
        return found

    async def failure(self) -> CallFailed:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._read_to_the_end()
        return CallFailed.from_rpc_error(caught.value)

    async def _read_to_the_end(self) -> None:
        while await asyncio.wait_for(self._stream.read(), 10) is not grpc.aio.EOF:
            pass

    def cancel(self) -> None:
        self._stream.cancel()


async def create(stub: Any, **fields: Any) -> str:
    return (await stub.CreateSession(calls.CreateSessionRequest(**fields))).session.session_id


async def update(stub: Any, session_id: str, key: str = "k", text: str = "1") -> None:
    mutation = session_pb2.Mutation(key=key, set=text)
    await stub.UpdateSession(calls.UpdateSessionRequest(session_id=session_id, mutations=[mutation]))


async def test_the_first_message_has_a_token_and_then_come_changes() -> None:
    async with service() as (_, stub):
        watch = Watch(stub, include_session=True)
        assert await watch.read() == []
        assert watch.token
        session_id = await create(stub, values={"a": "1"}, labels={"x": "y"}, idle_ttl={"seconds": 1})
        await update(stub, session_id)
        created, updated, expired = await watch.until(3)
        assert [event.type for event in (created, updated, expired)] == [CREATED, UPDATED, EXPIRED]
        assert dict(created.session.labels) == {"x": "y"}
        assert list(updated.changed_keys) == ["k"]
        assert updated.session.values["k"] == "1"
        assert not expired.HasField("session")


async def test_a_watch_can_be_of_one_session_of_labels_and_without_refreshes() -> None:
    async with service() as (_, stub):
        first = await create(stub, labels={"kind": "a"})
        one = Watch(stub, session_id=first)
        labelled = Watch(stub, labels={"kind": "b"})
        refreshes = Watch(stub, include_refreshed=True)
        for watch in (one, labelled, refreshes):
            await watch.read()
        second = await create(stub, labels={"kind": "b"})
        for session_id in (first, second):
            await stub.RefreshSession(calls.RefreshSessionRequest(session_id=session_id))
            await stub.EndSession(calls.EndSessionRequest(session_id=session_id))
        assert [(event.type, event.session_id) for event in await one.until(1)] == [(ENDED, first)]
        assert [(event.type, event.session_id) for event in await labelled.until(2)] == [
            (CREATED, second),
            (ENDED, second),
        ]
        assert [event.type for event in await refreshes.until(5)] == [CREATED, REFRESHED, ENDED, REFRESHED, ENDED]


async def test_progress_is_told_when_nothing_happens() -> None:
    async with service() as (_, stub):
        watch = Watch(stub, progress_interval={"seconds": 1})
        await watch.read()
        assert await watch.read() == []
        refused = Watch(stub, progress_interval={"seconds": 0, "nanos": 1})
        assert (await refused.failure()).faults[0][0] == "progress_interval"


async def test_s7_a_watch_resumes_without_a_gap_and_is_told_of_one() -> None:
    async with service(history=100) as (_, stub):
        watch = Watch(stub)
        await watch.read()
        session_id = await create(stub)
        await watch.until(1)
        token = watch.token
        watch.cancel()
        await update(stub, session_id)
        await stub.EndSession(calls.EndSessionRequest(session_id=session_id))
        again = Watch(stub, resume_token=token)
        assert [event.type for event in await again.until(2)] == [UPDATED, ENDED]
        again.cancel()
        other = await create(stub)
        for _ in range(110):
            await update(stub, other)
        late = await Watch(stub, resume_token=token).failure()
        assert (late.code, late.reason) == (grpc.StatusCode.OUT_OF_RANGE, "COMPACTED")
        forged = await Watch(stub, resume_token="forged").failure()
        assert forged.faults[0][0] == "resume_token"


async def test_s7_a_slow_watcher_is_cut_off_and_holds_no_memory() -> None:
    async with service(history=100) as (_, stub):
        session_id = await create(stub)
        watch = Watch(stub, include_session=True)
        await watch.read()
        # Messages of 64 KiB, none of which is read: the stream's own buffers fill, and then the watch stands still
        for _ in range(400):
            await update(stub, session_id, text='"' + "x" * 65_000 + '"')
        cut = await watch.failure()
        assert (cut.code, cut.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")


async def test_a_watch_ends_when_the_server_drains() -> None:
    async with service() as (server, stub):
        watch = Watch(stub)
        await watch.read()
        draining = asyncio.create_task(server.drain(10))
        ended = await watch.failure()
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        await draining
