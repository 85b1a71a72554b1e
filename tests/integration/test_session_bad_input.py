"""Bad input over real gRPC: the status names the field, nothing changes, nothing grows."""

import base64
import contextlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import HealthCheck, given, settings
from support.messages import messages
from support.session_server import clients_of, serve_sessions
from support.session_stores import KINDS, LIMITS, StoreUnderTest

from virtlease.client import CallFailed, SessionPipeline
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2, session_service_pb2_grpc, watch_pb2
from virtlease_session.app import SERVICE
from virtlease_session.store.memory import MemoryStore

INVALID = grpc.StatusCode.INVALID_ARGUMENT
# What a service may say to a caller who asks for something strange. The others would be faults of its own.
CALLERS_FAULTS = {
    INVALID,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@dataclass
class Served:
    """A store behind gRPC with one session in it, and both ways to it."""

    tested: StoreUnderTest
    channel: grpc.aio.Channel
    stub: session_service_pb2_grpc.SessionServiceStub
    pipeline: SessionPipeline
    session: session_pb2.Session

    async def state(self) -> list[tuple[str, str, dict[str, str]]]:
        """All sessions with their values."""
        listed = await self.stub.ListSessions(calls.ListSessionsRequest(page_size=1000))
        found = []
        for each in listed.sessions:
            request = calls.GetSessionRequest(session_id=each.session_id, peek=True)
            session = (await self.stub.GetSession(request)).session
            found.append((session.session_id, session.etag, dict(session.values)))
        return found

    async def unary(self, method: str, request: Message) -> CallFailed | None:
        """What a call fails with, if it does."""
        try:
            await getattr(self.stub, method)(request, timeout=20)
        except grpc.aio.AioRpcError as error:
            return CallFailed.from_rpc_error(error)
        return None

    async def piped(self, method: str, request: Message) -> CallFailed | None:
        """The same through the Pipeline."""
        names = {"CreateSession": "create", "GetOrCreateSession": "get_or_create", "UpdateSession": "update"}
        try:
            await getattr(self.pipeline, names.get(method, method.removesuffix("Session").lower()))(request, timeout=20)
        except CallFailed as failure:
            return failure
        return None

    async def raw(self, method: str, body: bytes) -> grpc.aio.AioRpcError | None:
        """What a call with these bytes fails with, if it does."""
        call = self.channel.unary_unary(f"/{SERVICE.full_name}/{method}")
        try:
            await call(body, timeout=20)
        except grpc.aio.AioRpcError as error:
            return error
        return None


@contextlib.asynccontextmanager
async def serving(tested: StoreUnderTest) -> AsyncIterator[Served]:
    async with (
        serve_sessions(tested.store, limits=LIMITS) as server,
        clients_of(server.addresses[0].port) as clients,
    ):
        created = await clients.stub.CreateSession(
            calls.CreateSessionRequest(values={"text": '"t"', "n": "1", "big": "9223372036854775807"})
        )
        yield Served(tested, clients.channel, clients.stub, clients.pipeline, created.session)


@pytest.fixture(params=KINDS)
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    async with KINDS[request.param](tmp_path) as tested, serving(tested) as found:
        yield found


BAD_JSON = {
    "nothing": "",
    "two": "1 2",
    "cut off": '{"a": [1, 2',
    "NaN": "NaN",
    "infinity": "-Infinity",
    "bare": "text",
    "single quotes": "'a'",
    "comment": "1 // one",
    "a key twice": '{"a": 1, "b": {"c": 1, "c": 2}}',
    "the same key in other words": '{"a": 1, "\\u0061": 2}',
    "half a character": '"\\ud800"',
    "half a character in a key": '{"\\udc00": 1}',
    "a control character": '"\x01"',
    "a bomb": "[" * 65 + "]" * 65,
    "a large bomb": "[" * 30_000 + "]" * 30_000,
    "a bomb of objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "65,537 bytes": json.dumps("x" * 65_535),
    "fewer characters than bytes": json.dumps("é" * 40_000, ensure_ascii=False),
}


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=round(value % 1 * 1e9))


LIFETIMES = {
    "negative": Duration(seconds=-1),
    "zero": Duration(),
    "half a second": seconds(0.5),
    "absurd": Duration(seconds=10**12),
    "more than can be": Duration(seconds=2**62),
    "more nanoseconds than there are in a second": Duration(seconds=5, nanos=2_000_000_000),
    "signs that differ": Duration(seconds=5, nanos=-1),
}


def mutation(**fields: Any) -> session_pb2.Mutation:
    return session_pb2.Mutation(**{"key": "k", "set": "1"} | fields)


def operation(**fields: Any) -> session_pb2.Mutation:
    return session_pb2.Mutation(key="k", **fields)


# Method, request and the field that the error names
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    **{f"create: {name}": ("CreateSession", {"values": {"k": text}}, "values['k']") for name, text in BAD_JSON.items()},
    **{
        f"set: {name}": ("UpdateSession", {"mutations": [mutation(), mutation(set=text)]}, "mutations[1].set")
        for name, text in BAD_JSON.items()
    },
    **{
        f"append: {name}": (
            "UpdateSession",
            {"mutations": [operation(append=session_pb2.Append(item=text))]},
            "mutations[0].append.item",
        )
        for name, text in BAD_JSON.items()
    },
    **{f"idle_ttl: {name}": ("CreateSession", {"idle_ttl": each}, "idle_ttl") for name, each in LIFETIMES.items()},
    **{f"max_life: {name}": ("GetOrCreateSession", {"max_life": each}, "max_life") for name, each in LIFETIMES.items()},
    **{f"refresh: {name}": ("RefreshSession", {"idle_ttl": each}, "idle_ttl") for name, each in LIFETIMES.items()},
    "idle longer than life": ("CreateSession", {"idle_ttl": seconds(60), "max_life": seconds(30)}, "idle_ttl"),
    "an empty key": ("CreateSession", {"values": {"": "1"}}, "values['']"),
    "a long key": ("CreateSession", {"values": {"k" * 257: "1"}}, f"values['{'k' * 257}']"),
    "a system key": ("CreateSession", {"values": {"_history": "[]"}}, "values['_history']"),
    "1,025 keys": ("CreateSession", {"values": {f"k{n}": "1" for n in range(1025)}}, "values"),
    "more than a session holds": (
        "CreateSession",
        {"values": {f"k{n}": json.dumps("x" * 65_000) for n in range(17)}},
        "values",
    ),
    "33 labels": ("CreateSession", {"labels": {f"l{n}": "" for n in range(33)}}, "labels"),
    "a label without a name": ("CreateSession", {"labels": {"": "x"}}, "labels['']"),
    "a long label": ("CreateSession", {"labels": {"l": "é" * 129}}, "labels['l']"),
    "an id with a slash": ("GetOrCreateSession", {"session_id": "a/b"}, "session_id"),
    "an id of 129": ("GetOrCreateSession", {"session_id": "a" * 129}, "session_id"),
    "an id with a line end": ("GetOrCreateSession", {"session_id": "a\n"}, "session_id"),
    "a foreign letter": ("GetOrCreateSession", {"session_id": "é"}, "session_id"),
    "an anonymous caller's id": ("CreateSession", {"session_id": "mine"}, "session_id"),
    "a long request id": ("CreateSession", {"request_id": "r" * 129}, "request_id"),
    "a long request id in bytes": ("UpdateSession", {"request_id": "é" * 65, "mutations": [mutation()]}, "request_id"),
    "no mutation": ("UpdateSession", {}, "mutations"),
    "1,025 mutations": ("UpdateSession", {"mutations": [mutation()] * 1025}, "mutations"),
    "a mutation of nothing": ("UpdateSession", {"mutations": [session_pb2.Mutation(key="k")]}, "mutations[0]"),
    "a mutation of no key": ("UpdateSession", {"mutations": [mutation(key="")]}, "mutations[0].key"),
    "a mutation of a long key": ("UpdateSession", {"mutations": [mutation(key="é" * 129)]}, "mutations[0].key"),
    "a mutation of a system key": ("UpdateSession", {"mutations": [mutation(key="_x")]}, "mutations[0].key"),
    "a delete that is none": ("UpdateSession", {"mutations": [operation(delete=False)]}, "mutations[0].delete"),
    "an empty condition": (
        "UpdateSession",
        {"mutations": [mutation(precondition=session_pb2.Precondition())]},
        "mutations[0].precondition",
    ),
    "too many keys in all": ("UpdateSession", {"mutations": [mutation(key=f"k{n}") for n in range(1024)]}, "mutations"),
    "too much in all": (
        "UpdateSession",
        {"mutations": [mutation(key=f"k{n}", set=json.dumps("x" * 65_000)) for n in range(17)]},
        "mutations",
    ),
    "too long a list": (
        "UpdateSession",
        {"mutations": [operation(append=session_pb2.Append(item=json.dumps("x" * 40_000)))] * 2},
        "mutations[1].append",
    ),
}
OF_A_SESSION = ("UpdateSession", "RefreshSession")


def request_of(served: Served, method: str, fields: dict[str, Any]) -> Message:
    target = {"session_id": served.session.session_id} if method in OF_A_SESSION else {}
    request: Message = getattr(calls, f"{method}Request")(**target, **fields)
    return request


async def test_what_is_wrong_is_named_and_changes_nothing(served: Served) -> None:
    """All cases in one test: each takes a millisecond, a server for each would take a hundred."""
    before = await served.state()
    faults = []
    for name, (method, fields, field) in CASES.items():
        request = request_of(served, method, fields)
        for way in (served.unary, served.piped):
            failure = await way(method, request)
            if failure is None or failure.code is not INVALID or [path for path, _ in failure.faults] != [field]:
                faults.append((name, way.__name__, field, failure and (failure, failure.faults)))
    assert faults == []
    assert await served.state() == before


async def test_lists_and_watches_with_strange_arguments(served: Served) -> None:
    page = await served.stub.ListSessions(calls.ListSessionsRequest(page_size=1))
    assert page.sessions
    forged = [base64.urlsafe_b64encode(text).decode() for text in (b"", b'["x", 1]', b"[]", b"\xff", b'["", ""]')]
    wrong = [
        ("page_size", calls.ListSessionsRequest(page_size=-1)),
        ("page_size", calls.ListSessionsRequest(page_size=1001)),
        *(("page_token", calls.ListSessionsRequest(page_token=token)) for token in ("x", "é", "=", *forged[1:])),
    ]
    for field, request in wrong:
        failure = await served.unary("ListSessions", request)
        assert failure is not None, request
        assert (failure.code, [path for path, _ in failure.faults]) == (INVALID, [field])
    for field, fields in (
        *(("resume_token", {"resume_token": token}) for token in ("x", "é", "=", *forged[2:])),
        ("progress_interval", {"progress_interval": seconds(0.1)}),
        ("progress_interval", {"progress_interval": Duration(seconds=-5)}),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.WatchSessions(watch_pb2.WatchSessionsRequest(**fields), timeout=20).read()
        failure = CallFailed.from_rpc_error(caught.value)
        assert (failure.code, [path for path, _ in failure.faults]) == (INVALID, [field]), fields


async def test_a_quota_is_told_as_such(served: Served) -> None:
    for _ in range(LIMITS.sessions_per_owner - 1):
        await served.stub.CreateSession(calls.CreateSessionRequest())
    before = await served.state()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.CreateSession(calls.CreateSessionRequest())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    assert error_details_pb2.QuotaFailure.DESCRIPTOR.full_name.encode() in details
    assert await served.state() == before


async def test_bytes_that_are_no_message(served: Served) -> None:
    before = await served.state()
    chance = random.Random(5)
    key = b"\xff\xfe"
    value = bytes([0x0A, len(key)]) + key + b"\x12\x011"
    for method in ("CreateSession", "UpdateSession", "GetSession", "ListSessions"):
        for body in (b"\xff", b"\x0a\x05ab", b"\x00\x00", *(chance.randbytes(40) + b"\xff" for _ in range(20))):
            error = await served.raw(method, body)
            if error is not None:
                assert error.code() in CALLERS_FAULTS, (method, body, error)
    for method, body, field in (
        ("CreateSession", b"\x22" + bytes([len(value)]) + value, "values"),
        ("UpdateSession", b"\x12\x06\x0a\x02\xff\xfe\x1a\x00", "mutations[0].key"),
        ("UpdateSession", b"\x12\x04\x0a\x01k\x1a\x12\x06\x0a\x02\xff\xfe\x1a\x00", "mutations"),
        ("GetSession", b"\x0a\x02\xc3\x28", "session_id"),
        ("EndSession", b"\x0a\x02ok\x22\x01\xff", "request_id"),
    ):
        error = await served.raw(method, body)
        assert error is not None, (method, body)
        failure = CallFailed.from_rpc_error(error)
        assert failure.code is INVALID, (method, body, failure)
        assert failure.faults, (method, body)
        assert failure.faults[0][0].startswith(field), (method, failure.faults)
    assert await served.state() == before


async def test_a_message_of_ten_megabytes(served: Served) -> None:
    before = await served.state()
    large = calls.CreateSessionRequest(values={"k": json.dumps("x" * 10_000_000)})
    failure = await served.unary("CreateSession", large)
    assert failure is not None
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await served.state() == before


async def test_unknown_fields_are_passed_over_and_not_kept(served: Served) -> None:
    """As protobuf has it: a newer client can talk to an older service."""
    known = calls.GetSessionRequest(session_id=served.session.session_id, peek=True).SerializeToString()
    unknown = b"\xf8\x3f\x01" + b"\xfa\x3f\x05hello"  # fields 1023 as a number and as text
    assert await served.raw("GetSession", known + unknown) is None
    create = calls.CreateSessionRequest(values={"a": "1"}).SerializeToString()
    assert await served.raw("CreateSession", create + unknown) is None
    assert [values for _, _, values in await served.state() if values == {"a": "1"}]


async def test_what_failed_is_not_remembered(tmp_path: Path) -> None:
    """Failing with ever new request ids, ids and owners fills nothing."""
    async with KINDS["memory"](tmp_path) as tested, serving(tested) as served:
        assert isinstance(tested.store, MemoryStore)
        engine = tested.store.engine
        before = len(engine), len(engine._requests), len(engine._tombstones), len(engine._owners)
        for number in range(500):
            fields: dict[str, Any] = {"session_id": f"nobody-{number}", "request_id": f"r{number}"}
            await served.unary("UpdateSession", calls.UpdateSessionRequest(mutations=[mutation()], **fields))
            await served.unary("EndSession", calls.EndSessionRequest(**fields))
            wrong = calls.UpdateSessionRequest(
                session_id=served.session.session_id,
                request_id=f"r{number}",
                mutations=[mutation(key="text", increment=1)],
            )
            failure = await served.piped("UpdateSession", wrong)
            assert failure is not None
            assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
        assert (len(engine), len(engine._requests), len(engine._tombstones), len(engine._owners)) == before


@pytest.mark.parametrize("verb", ["Create", "GetOrCreate", "Update", "Refresh", "End"])
async def test_any_message_is_served_or_the_callers_fault(verb: str, tmp_path: Path) -> None:
    method = f"{verb}Session"
    async with KINDS["memory"](tmp_path) as tested, serving(tested) as served:
        found: list[Message] = []
        chance = random.Random(3)

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(messages(SERVICE.methods_by_name[method].input_type))
        def collect(message: Message) -> None:
            found.append(message)

        collect()
        for message in found:
            if method in OF_A_SESSION and chance.random() < 0.8:
                message.session_id = served.session.session_id
            failure = await served.unary(method, message)
            assert failure is None or failure.code in CALLERS_FAULTS, (message, failure)
