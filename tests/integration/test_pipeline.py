"""The session pipeline over real gRPC: order, errors of single operations, breaks, moves, credit."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.cutting_proxy import CuttingProxy, cutting_proxy
from support.identities import bearer, write_identities
from support.session_server import serve_sessions

from virtlease.client import CallFailed, SessionPipeline
from virtlease.session.v1 import pipeline_pb2 as pb
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2, session_service_pb2_grpc
from virtlease_chassis.clock import SystemClock
from virtlease_chassis.identity import Principal
from virtlease_session.limits import Limits
from virtlease_session.store.memory import MemoryStore


def memory_store() -> MemoryStore:
    return MemoryStore(SystemClock(), Limits(), watch_history=1000)


@contextlib.asynccontextmanager
async def pipeline_to(port: int, **options: Any) -> AsyncIterator[SessionPipeline]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        pipeline = SessionPipeline(channel, **options)
        try:
            yield pipeline
        finally:
            await pipeline.close()


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[int, SessionPipeline]]:
    async with serve_sessions(memory_store(), **options) as server:
        port = server.addresses[0].port
        async with pipeline_to(port) as pipeline:
            yield port, pipeline


@contextlib.asynccontextmanager
async def through_proxy(patience: float) -> AsyncIterator[tuple[CuttingProxy, SessionPipeline]]:
    async with (
        serve_sessions(memory_store()) as server,
        cutting_proxy(server.addresses[0].port) as proxy,
        pipeline_to(proxy.port, patience=patience) as pipeline,
    ):
        yield proxy, pipeline


def increment(session_id: str, key: str = "n", **fields: Any) -> calls.UpdateSessionRequest:
    return calls.UpdateSessionRequest(
        session_id=session_id, mutations=[session_pb2.Mutation(key=key, increment=1)], **fields
    )


async def new_session(pipeline: SessionPipeline, **fields: Any) -> str:
    return (await pipeline.create(calls.CreateSessionRequest(**fields), timeout=5)).session.session_id


async def failed(call: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        await call
    return caught.value


async def test_every_call_has_its_like_on_the_stream() -> None:
    async with served() as (_, pipeline):
        session_id = await new_session(pipeline, values={"a": "1"})
        found = await pipeline.get_or_create(calls.GetOrCreateSessionRequest(session_id=session_id), timeout=5)
        assert not found.created
        updated = await pipeline.update(increment(session_id), timeout=5)
        assert updated.incremented == {"n": 1}
        seen = (await pipeline.get(calls.GetSessionRequest(session_id=session_id), timeout=5)).session
        assert (dict(seen.values), seen.etag) == ({"a": "1", "n": "1"}, updated.etag)
        refreshed = await pipeline.refresh(
            calls.RefreshSessionRequest(session_id=session_id, idle_ttl={"seconds": 60}), timeout=5
        )
        assert refreshed.idle_ttl.seconds == 60
        assert (await pipeline.end(calls.EndSessionRequest(session_id=session_id), timeout=5)).HasField("end_time")


async def test_operations_on_a_session_run_in_the_order_of_the_stream_and_fail_one_by_one() -> None:
    async with served() as (_, pipeline):
        session_id = await new_session(pipeline)
        append = [
            calls.UpdateSessionRequest(
                session_id=session_id, mutations=[session_pb2.Mutation(key="l", append=session_pb2.Append(item=str(n)))]
            )
            for n in range(300)
        ]
        wrong = calls.UpdateSessionRequest(session_id=session_id)
        gone = calls.GetSessionRequest(session_id="x" * 33)
        results = await asyncio.gather(
            *(pipeline.update(request, timeout=5) for request in append[:150]),
            pipeline.update(wrong, timeout=5),
            pipeline.get(gone, timeout=5),
            *(pipeline.update(request, timeout=5) for request in append[150:]),
            return_exceptions=True,
        )
        failures = [result for result in results if isinstance(result, CallFailed)]
        assert [(each.code, each.reason) for each in failures] == [
            (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
            (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        ]
        assert failures[0].faults == (("mutations", "at least one"),)
        seen = await pipeline.get(calls.GetSessionRequest(session_id=session_id), timeout=5)
        assert seen.session.values["l"] == f"[{','.join(map(str, range(300)))}]"


@pytest.mark.parametrize("cut_after", [1, 2, 3, 5, 8])
async def test_s5_a_stream_that_is_cut_at_every_message_has_every_effect_once(cut_after: int) -> None:
    async with through_proxy(patience=20) as (proxy, pipeline):
        session_id = await new_session(pipeline)
        answered: list[int] = []

        async def caller() -> None:
            for _ in range(40):
                answer = await pipeline.update(increment(session_id), timeout=30)
                answered.append(answer.incremented["n"])
                if len(answered) % cut_after == 0 and proxy.connections < 40:
                    proxy.cut()

        await asyncio.gather(*(caller() for _ in range(8)))
        assert proxy.connections > 5
        # Every increment happened once, and each caller was told its own
        assert sorted(answered) == list(range(1, 8 * 40 + 1))


async def test_s5_answers_that_are_lost_at_every_message_have_every_effect_once() -> None:
    """Each connection is cut one message later than the last, going there or coming back, before it is passed on."""
    async with through_proxy(patience=20) as (proxy, pipeline):
        session_id = await new_session(pipeline)
        proxy.cut_before = lambda connection, chunk: 1 < connection <= 40 and chunk == connection + 5
        proxy.cut()
        answered: list[int] = []

        async def caller() -> None:
            while proxy.connections <= 40:
                answer = await pipeline.update(increment(session_id), timeout=30)
                answered.append(answer.incremented["n"])

        await asyncio.gather(*(caller() for _ in range(8)))
        assert sorted(answered) == list(range(1, len(answered) + 1))


async def test_p7_a_server_that_drains_sends_its_streams_elsewhere_and_loses_nothing() -> None:
    store = memory_store()
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serve_sessions(store)) for _ in range(3)]
        addresses = ",".join(f"127.0.0.1:{server.addresses[0].port}" for server in servers)
        options = [("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')]
        async with grpc.aio.insecure_channel(f"ipv4:{addresses}", options) as channel:
            pipeline = SessionPipeline(channel)
            session_id = await new_session(pipeline)
            count = 0
            stop = False

            async def caller() -> None:
                nonlocal count
                while not stop:
                    await pipeline.update(increment(session_id), timeout=20)
                    count += 1

            callers = [asyncio.create_task(caller()) for _ in range(8)]
            for server in servers[:2]:
                await asyncio.sleep(0.3)
                await server.drain(5)
            await asyncio.sleep(0.3)
            stop = True
            await asyncio.gather(*callers)
            seen = await pipeline.get(calls.GetSessionRequest(session_id=session_id), timeout=5)
            assert seen.session.values["n"] == str(count)
            await pipeline.close()


async def test_a_stream_that_grows_old_is_replaced_without_a_failure() -> None:
    async with served(max_connection_age=1) as (_, pipeline):
        session_id = await new_session(pipeline)
        for number in range(1, 60):
            assert (await pipeline.update(increment(session_id), timeout=5)).incremented["n"] == number
            await asyncio.sleep(0.05)


async def test_s4_an_operation_is_in_the_name_of_its_principal(tmp_path: Path) -> None:
    async with serve_sessions(memory_store(), identity_file=write_identities(tmp_path)) as server:
        port = server.addresses[0].port
        carol = Principal("acme", "carol", frozenset({"session:read", "session:write"})).to_header()
        dave = Principal("acme", "dave", frozenset({"session:read"})).to_header()
        async with (
            pipeline_to(port, metadata=lambda: bearer("gateway")) as gateway,
            pipeline_to(port, metadata=lambda: bearer("alice")) as alice,
            pipeline_to(port) as stranger,
        ):
            created = await gateway.create(calls.CreateSessionRequest(), timeout=5, principal=carol)
            get = calls.GetSessionRequest(session_id=created.session.session_id)
            await gateway.get(get, timeout=5, principal=carol)
            assert (await failed(gateway.get(get, timeout=5, principal=dave))).reason == "SESSION_NOT_FOUND"
            assert (await failed(alice.get(get, timeout=5))).reason == "SESSION_NOT_FOUND"
            denied = await failed(gateway.create(calls.CreateSessionRequest(), timeout=5, principal=dave))
            assert (denied.code, denied.metadata["scope"]) == (grpc.StatusCode.PERMISSION_DENIED, "session:write")
            assert (await failed(alice.get(get, timeout=5, principal=carol))).code is grpc.StatusCode.PERMISSION_DENIED
            assert (await failed(stranger.get(get, timeout=5))).code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_caller_who_goes_away_disturbs_nobody() -> None:
    async with served() as (_, pipeline):
        ids = [await new_session(pipeline) for _ in range(20)]
        chance = random.Random(7)
        wrong = 0

        async def caller(session_id: str) -> None:
            nonlocal wrong
            for _ in range(50):
                task = asyncio.ensure_future(pipeline.get(calls.GetSessionRequest(session_id=session_id), timeout=5))
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                else:
                    wrong += (await task).session.session_id != session_id

        await asyncio.gather(*(caller(session_id) for session_id in ids))
        assert wrong == 0
        assert not pipeline._stream._sent or all(call.future.done() for call in pipeline._stream._sent.values())


async def test_a_server_that_is_down_is_told_at_once_and_comes_back_by_itself() -> None:
    async with through_proxy(patience=0.3) as (proxy, pipeline):
        proxy.refusing = True
        down = await failed(new_session(pipeline))
        assert down.code is grpc.StatusCode.UNAVAILABLE
        proxy.refusing = False
        async with asyncio.timeout(10):
            while True:
                try:
                    session_id = await new_session(pipeline)
                    break
                except CallFailed:
                    await asyncio.sleep(0.1)
        # A service that swallows everything costs a caller no more than their time
        proxy.freeze()
        late = await failed(pipeline.update(increment(session_id), timeout=0.3))
        assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_s5_a_stream_that_breaks_after_a_long_silence_is_opened_anew() -> None:
    """Patience begins with the break, not with the last answer."""
    async with through_proxy(patience=1) as (proxy, pipeline):
        session_id = await new_session(pipeline)
        proxy.freeze()
        waiting = asyncio.create_task(pipeline.update(increment(session_id), timeout=20))
        await asyncio.sleep(1.3)
        proxy.cut()
        proxy.thaw()
        assert (await waiting).incremented["n"] == 1


async def test_large_answers_are_sent_in_parts() -> None:
    async with served() as (_, pipeline):
        values = {f"k{n}": '"' + "x" * 64_000 + '"' for n in range(15)}
        ids = [await new_session(pipeline, values=values) for _ in range(12)]
        answers = await asyncio.gather(
            *(pipeline.get(calls.GetSessionRequest(session_id=session_id), timeout=10) for session_id in ids)
        )
        assert all(dict(answer.session.values) == values for answer in answers)


async def raw(port: int, *messages: pb.PipelineRequest) -> list[pb.PipelineResponse]:
    """What the server says to a client that follows no rules."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = session_service_pb2_grpc.SessionServiceStub(channel).Pipeline(iter(messages), timeout=10)
        return [response async for response in stream]


def operation(seq: int, **fields: Any) -> pb.Operation:
    fields = fields or {"get": calls.GetSessionRequest(session_id="nobody")}
    return pb.Operation(seq=seq, **fields)


async def test_clients_that_break_the_rules() -> None:
    async with served() as (port, pipeline):
        session_id = await new_session(pipeline)
        for messages in (
            [pb.PipelineRequest(operations=[operation(2), operation(1)])],
            [pb.PipelineRequest(operations=[operation(1)]), pb.PipelineRequest(operations=[operation(1)])],
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await raw(port, *messages)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        flood = [pb.PipelineRequest(operations=[operation(n) for n in range(1, 5000)])]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(port, *flood)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        strange = pb.PipelineRequest(
            cancel=[3],
            operations=[
                pb.Operation(seq=1),
                pb.Operation(seq=2, get=calls.GetSessionRequest(session_id=session_id), timeout={"seconds": 0}),
                pb.Operation(seq=3, update=increment(session_id)),
                pb.Operation(seq=4, get=calls.GetSessionRequest(session_id=session_id)),
            ],
        )
        responses = await raw(port, strange)
        assert responses[0].window >= 1024
        results = {result.seq: result for response in responses for result in response.results}
        codes = {seq: result.status.code for seq, result in results.items()}
        assert codes == {
            1: grpc.StatusCode.INVALID_ARGUMENT.value[0],
            2: grpc.StatusCode.DEADLINE_EXCEEDED.value[0],
            3: grpc.StatusCode.CANCELLED.value[0],
            4: 0,
        }
        assert "n" not in results[4].get.session.values
        assert all(response.HasField("server_time") for response in responses[1:])
