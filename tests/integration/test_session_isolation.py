"""Every owner against every other, verb by verb: what is another's looks, byte for byte, as what never was."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from support.identities import bearer, write_identities
from support.session_server import Clients, clients_of, serve_sessions
from support.session_stores import KINDS

from virtlease.client import CallFailed
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2 as pb
from virtlease.session.v1 import watch_pb2
from virtlease_chassis.identity import Principal

ALL = frozenset({"session:read", "session:write"})
# Two with tokens of their own, and two for whom the gateway acts, whose names are nearly alice's
OWNERS = {
    "alice": bearer("alice"),
    "bob": bearer("bob"),
    "elsewhere": (*bearer("gateway"), ("x-virtlease-principal", Principal("umbrella", "alice", ALL).to_header())),
    "nearly": (*bearer("gateway"), ("x-virtlease-principal", Principal("acme", "alice of", ALL).to_header())),
}


@contextlib.asynccontextmanager
async def world(kind: str, folder: Path) -> AsyncIterator[Clients]:
    async with (
        KINDS[kind](folder / "store") as tested,
        serve_sessions(tested.store, identity_file=write_identities(folder)) as server,
        clients_of(server.addresses[0].port) as clients,
    ):
        yield clients


def requests_for(session_id: str) -> dict[str, tuple[str, Any]]:
    """A request of each verb that goes to a session."""
    mutation = [pb.Mutation(key="k", set='"stolen"')]
    return {
        "get": ("GetSession", calls.GetSessionRequest(session_id=session_id)),
        "peek": ("GetSession", calls.GetSessionRequest(session_id=session_id, peek=True, keys=["secret"])),
        "update": ("UpdateSession", calls.UpdateSessionRequest(session_id=session_id, mutations=mutation)),
        "refresh": ("RefreshSession", calls.RefreshSessionRequest(session_id=session_id)),
        "end": ("EndSession", calls.EndSessionRequest(session_id=session_id)),
        "retry": (
            "UpdateSession",
            calls.UpdateSessionRequest(session_id=session_id, mutations=mutation, request_id="first"),
        ),
    }


async def error_of(call: Any) -> tuple[grpc.StatusCode, bytes]:
    """The code of a failing call and its details as bytes, without the id of its trace."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            info.metadata.pop("trace_id", None)
            detail.Pack(info)
    kept = [
        detail.SerializeToString(deterministic=True)
        for detail in status.details
        if "RequestInfo" not in detail.type_url
    ]
    return caught.value.code(), b"".join((status.message.encode(), *kept))


@pytest.mark.parametrize("kind", KINDS)
async def test_s4_every_owner_against_every_other_verb_by_verb(kind: str, tmp_path: Path) -> None:
    async with world(kind, tmp_path) as clients:
        stub = clients.stub
        sessions = {}
        for owner, metadata in OWNERS.items():
            request = calls.CreateSessionRequest(session_id=f"of-{owner}", values={"secret": f'"{owner}"'})
            sessions[owner] = (await stub.CreateSession(request, metadata=metadata)).session
            done = calls.UpdateSessionRequest(session_id=f"of-{owner}", request_id="first")
            done.mutations.add(key="mine", set="1")
            await stub.UpdateSession(done, metadata=metadata)
        before = await everything(clients)
        for owner, other in itertools.permutations(OWNERS, 2):
            theirs, nobodys = requests_for(f"of-{owner}"), requests_for("n" * len(f"of-{owner}"))
            for verb, (method, request) in theirs.items():
                code, details = await error_of(getattr(stub, method)(request, metadata=OWNERS[other]))
                empty, as_if = await error_of(getattr(stub, method)(nobodys[verb][1], metadata=OWNERS[other]))
                assert code is empty is grpc.StatusCode.NOT_FOUND, (verb, owner, other)
                same = as_if.replace(nobodys[verb][1].session_id.encode(), request.session_id.encode())
                assert details == same, (verb, owner, other)
                assert b"SESSION_NOT_FOUND" in details
        assert await everything(clients) == before
        # The same id is free to everybody, and is another session
        for other in ("bob", "elsewhere", "nearly"):
            request = calls.GetOrCreateSessionRequest(session_id="of-alice")
            found = await stub.GetOrCreateSession(request, metadata=OWNERS[other])
            assert found.created
            assert not found.session.values
            await stub.EndSession(calls.EndSessionRequest(session_id="of-alice"), metadata=OWNERS[other])
        seen = await stub.GetSession(calls.GetSessionRequest(session_id="of-alice"), metadata=OWNERS["alice"])
        assert seen.session.values["secret"] == '"alice"'


async def everything(clients: Clients) -> list[Any]:
    """What each owner lists and reads."""
    found: list[Any] = []
    for owner, metadata in OWNERS.items():
        listed = await clients.stub.ListSessions(calls.ListSessionsRequest(), metadata=metadata)
        assert [each.session_id for each in listed.sessions] == [f"of-{owner}"]
        get = calls.GetSessionRequest(session_id=f"of-{owner}", peek=True)
        session = (await clients.stub.GetSession(get, metadata=metadata)).session
        found.append((session.etag, dict(session.values), session.expire_time.seconds))
    return found


@pytest.mark.parametrize("kind", KINDS)
async def test_s4_page_and_resume_tokens_open_nothing_of_anothers(kind: str, tmp_path: Path) -> None:
    async with world(kind, tmp_path) as clients:
        stub = clients.stub
        watches = {
            owner: stub.WatchSessions(watch_pb2.WatchSessionsRequest(), metadata=metadata)
            for owner, metadata in OWNERS.items()
        }
        tokens = {owner: (await watch.read()).resume_token for owner, watch in watches.items()}
        for owner, metadata in OWNERS.items():
            for number in range(3):
                await stub.CreateSession(calls.CreateSessionRequest(session_id=f"{owner}-{number}"), metadata=metadata)
        for owner, metadata in OWNERS.items():
            page = await stub.ListSessions(calls.ListSessionsRequest(page_size=1), metadata=metadata)
            for other in OWNERS:
                request = calls.ListSessionsRequest(page_token=page.next_page_token)
                listed = await stub.ListSessions(request, metadata=OWNERS[other])
                assert all(each.session_id.startswith(other) for each in listed.sessions)
            seen: list[str] = []
            async with asyncio.timeout(10):
                while len(seen) < 3:
                    seen += [event.session_id for event in (await watches[owner].read()).events]
            assert seen == [f"{owner}-{number}" for number in range(3)]
            watches[owner].cancel()
        # A token of another's is refused, or resumes a watch of one's own
        for owner, other in itertools.permutations(OWNERS, 2):
            request = watch_pb2.WatchSessionsRequest(resume_token=tokens[owner])
            watch = stub.WatchSessions(request, metadata=OWNERS[other])
            try:
                async with asyncio.timeout(0.3):
                    while True:
                        assert all(event.session_id.startswith(other) for event in (await watch.read()).events)
            except TimeoutError:
                watch.cancel()
            except grpc.aio.AioRpcError as error:
                reason = CallFailed.from_rpc_error(error).reason
                if reason not in ("COMPACTED", "INVALID_ARGUMENT"):
                    raise
