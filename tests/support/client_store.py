"""A session store that is reached through the Python client: verbs become calls, answers and errors come back."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

import virtlease_chassis.errors
import virtlease_session.errors
from support.identities import bearer, write_identities
from support.session_server import serve_sessions
from support.session_stores import LIMITS, StoreUnderTest, memory
from virtlease.client import CallFailed, SessionPipeline
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2 as pb
from virtlease.session.v1.session_service_pb2_grpc import SessionServiceStub
from virtlease_chassis.clock import FakeClock
from virtlease_chassis.errors import DomainError
from virtlease_chassis.identity import Principal
from virtlease_session.model import (
    Answer,
    Append,
    Create,
    Delete,
    End,
    Ended,
    Found,
    Get,
    GetOrCreate,
    Increment,
    Mutation,
    Page,
    Refresh,
    RequestKey,
    SessionState,
    Set,
    Update,
    Updated,
    Verb,
)
from virtlease_session.ports import SessionStore, Watcher

_TIMEOUT = 20.0
_ERRORS: Mapping[str, Any] = {
    kind.reason: kind
    for module in (virtlease_chassis.errors, virtlease_session.errors)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, DomainError) and "reason" in vars(kind)
}


class ClientStore:
    """See `ports.SessionStore`. Watches are of the store behind the service: the client has none."""

    def __init__(self, channel: grpc.aio.Channel, behind: SessionStore, clock: FakeClock) -> None:
        self._stub = SessionServiceStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = bearer("gateway")
        self.pipeline = SessionPipeline(channel, metadata=lambda: self._metadata)
        self._behind = behind
        self._clock = clock

    async def execute(self, verbs: Sequence[Verb]) -> list[Answer | DomainError]:
        return list(await asyncio.gather(*(self._answer(verb) for verb in verbs)))

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        request = calls.ListSessionsRequest(labels=labels, page_size=limit, page_token=after)
        metadata = [*self._metadata, ("x-virtlease-principal", _principal(owner))]
        page = await self._stub.ListSessions(request, metadata=metadata)
        states = tuple(self._state(session) for session in page.sessions)
        return Page(states, page.next_page_token, page.server_time.ToMilliseconds())

    async def watch(self, owner: str, token: str) -> Watcher:
        return await self._behind.watch(owner, token)

    async def _answer(self, verb: Verb) -> Answer | DomainError:
        try:
            return await self._call(verb)
        except CallFailed as failure:
            kind = _ERRORS[failure.reason]
            error: DomainError = kind.__new__(kind)
            error.message, error.metadata, error.retry_after = failure.message, failure.metadata, failure.retry_after
            return error

    async def _call(self, verb: Verb) -> Answer:
        options: dict[str, Any] = {"timeout": _TIMEOUT, "principal": _principal(verb.owner)}
        match verb:
            case Create(_, new, key):
                response = await self.pipeline.create(_with_id(_new(calls.CreateSessionRequest, new), key), **options)
                return self._state(response.session)
            case GetOrCreate(_, new, key):
                request = _with_id(_new(calls.GetOrCreateSessionRequest, new), key)
                found = await self.pipeline.get_or_create(request, **options)
                return Found(self._state(found.session), found.created)
            case Get(_, session_id, keys, touch):
                read = calls.GetSessionRequest(
                    session_id=session_id, keys=keys or (), omit_values=keys == (), peek=not touch
                )
                return self._state((await self.pipeline.get(read, **options)).session)
            case Update(_, session_id, mutations, expected, key):
                update = calls.UpdateSessionRequest(
                    session_id=session_id,
                    mutations=[_mutation(each) for each in mutations],
                    etag=expected.etag,
                    incarnation=expected.incarnation,
                )
                done = await self.pipeline.update(_with_id(update, key), **options)
                incarnation, _, version = done.etag.partition("-")
                at = done.expire_time.ToMilliseconds()
                return Updated(incarnation, int(version), dict(done.incremented), at, self._clock.wall())
            case Refresh(_, session_id, idle_ttl, expected, key):
                refresh = calls.RefreshSessionRequest(session_id=session_id, incarnation=expected.incarnation)
                if idle_ttl is not None:
                    refresh.idle_ttl.FromMilliseconds(idle_ttl)
                await self.pipeline.refresh(_with_id(refresh, key), **options)
                kept = calls.GetSessionRequest(session_id=session_id, omit_values=True, peek=True)
                return self._state((await self.pipeline.get(kept, **options)).session)
            case End(_, session_id, expected, key):
                end = calls.EndSessionRequest(
                    session_id=session_id, etag=expected.etag, incarnation=expected.incarnation
                )
                return Ended((await self.pipeline.end(_with_id(end, key), **options)).end_time.ToMilliseconds())

    def _state(self, session: pb.Session) -> SessionState:
        incarnation, _, version = session.etag.partition("-")
        return SessionState(
            session.session_id,
            incarnation,
            int(version),
            dict(session.values),
            dict(session.labels),
            session.idle_ttl.ToMilliseconds(),
            session.create_time.ToMilliseconds(),
            session.update_time.ToMilliseconds(),
            session.expire_time.ToMilliseconds(),
            session.max_expire_time.ToMilliseconds(),
            self._clock.wall(),
        )


@contextlib.asynccontextmanager
async def client(folder: Path) -> AsyncIterator[StoreUnderTest]:
    """The client, a service that knows its callers, and a memory store behind it."""
    async with (
        memory(folder) as tested,
        serve_sessions(tested.store, limits=LIMITS, identity_file=write_identities(folder)) as server,
        grpc.aio.insecure_channel(str(server.addresses[0])) as channel,
    ):
        store = ClientStore(channel, tested.store, tested.clock)
        yield StoreUnderTest(store, tested.clock, tested.sweep, tested.purge)
        await store.pipeline.close()


def _principal(owner: str) -> str:
    tenant, _, name = owner.partition("/")
    return Principal(tenant, name, frozenset({"*"})).to_header()


def _with_id(request: Any, key: RequestKey | None) -> Any:
    if key is not None:
        request.request_id = key.request_id
    return request


def _new(kind: Any, new: Any) -> Any:
    request = kind(session_id=new.session_id, values=new.values, labels=new.labels)
    request.idle_ttl.FromMilliseconds(new.idle_ttl)
    request.max_life.FromMilliseconds(new.max_life)
    return request


def _mutation(mutation: Mutation) -> pb.Mutation:
    message = pb.Mutation(key=mutation.key)
    match mutation.operation:
        case Set(text):
            message.set = text
        case Delete():
            message.delete = True
        case Increment(amount):
            message.increment = amount
        case Append(item, max_items, max_bytes):
            message.append.CopyFrom(pb.Append(item=item, max_items=max_items, max_bytes=max_bytes))
    if mutation.exists is not None:
        message.precondition.exists = mutation.exists
    if mutation.equals is not None:
        message.precondition.equals = mutation.equals
    return message
