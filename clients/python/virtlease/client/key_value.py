"""A py-key-value store over the session service: each entry is a session, with an id made from collection and key.

An entry is the owner's who the token says, outlives processes as far as the service's store does, and is dropped when
its time to live is over. The service bounds what a session is: an entry has at most about a megabyte of JSON, and lives
at most as long as any session (24 hours, unless the service is set otherwise), counted from its last put.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from key_value.aio._utils.managed_entry import ManagedEntry
from key_value.aio.stores.base import BaseContextManagerStore

from virtlease.client.errors import CallFailed, NotFound, SessionConflict, SessionEnded
from virtlease.client.session_pipeline import SessionPipeline
from virtlease.client.target import Target
from virtlease.session.v1 import session_calls_pb2 as pb
from virtlease.session.v1 import session_pb2

# A value has at most 64 KiB as JSON text: longer texts are cut up, with room for what JSON escapes.
_PIECE = 30_000
_FIRST = "0"
_ATTEMPTS = 100


class SessionStore(BaseContextManagerStore):
    """Belongs to the event loop on which it is first used.

    A put replaces an entry in place. Only when the entry's session has not enough of its absolute life left, a new
    session takes its place; a reader that comes in between waits for it.
    """

    def __init__(
        self, target: Target | str | None = None, *, timeout: float = 10.0, collection: str | None = None
    ) -> None:
        """
        Args:
            target: the session service; `VIRTLEASE_CLIENT_SESSION_TARGET` says it when absent.
            timeout: how long to wait for an answer, in seconds.
            collection: the collection of calls that name none.
        """
        found = Target.find(target, "session")
        if found is None:
            raise ValueError("target: give one, or set VIRTLEASE_CLIENT_SESSION_TARGET")
        self._target = found
        self._timeout = timeout
        self._pipeline: SessionPipeline | None = None
        super().__init__(default_collection=collection, stable_api=True)

    async def _setup(self) -> None:
        channel = self._target.open_channel()
        self._pipeline = SessionPipeline(channel, metadata=self._target.metadata)
        self._exit_stack.push_async_callback(channel.close)
        self._exit_stack.push_async_callback(self._pipeline.close)

    @property
    def _calls(self) -> SessionPipeline:
        assert self._pipeline is not None, "the store was not set up"
        return self._pipeline

    async def _get_managed_entry(self, *, collection: str, key: str) -> ManagedEntry | None:
        request = pb.GetSessionRequest(session_id=_session_id(collection, key), peek=True)
        for _ in range(_ATTEMPTS):
            try:
                found = await self._calls.get(request, timeout=self._timeout)
            except SessionEnded:
                await asyncio.sleep(0.01)  # it is being replaced: a deletion does not end sessions
                continue
            except NotFound:
                return None
            text = _join(found.session.values)
            return self._serialization_adapter.load_json(json_str=text) if text else None
        return None

    async def _put_managed_entry(self, *, collection: str, key: str, managed_entry: ManagedEntry) -> None:
        pieces = _cut(self._serialization_adapter.dump_json(entry=managed_entry, key=key, collection=collection))
        session_id = _session_id(collection, key)
        ttl = _ttl(managed_entry)
        request = pb.GetOrCreateSessionRequest(session_id=session_id, idle_ttl=ttl, values=pieces)
        for _ in range(_ATTEMPTS):
            request.request_id = ""
            found = await self._calls.get_or_create(request, timeout=self._timeout)
            if found.created:
                return
            try:
                if self._lives_long_enough(found.session, ttl):
                    await self._replace(found.session, pieces, ttl)
                    return
                end = pb.EndSessionRequest(session_id=session_id, incarnation=_incarnation(found.session))
                await self._calls.end(end, timeout=self._timeout)
            except (NotFound, SessionConflict):
                continue  # somebody else was faster
        raise CallFailed.of(grpc.StatusCode.ABORTED, "the entry was replaced by others again and again")

    async def _delete_managed_entry(self, *, key: str, collection: str) -> bool:
        """Takes the value, and lets the session expire: a session that has ended is one that is being replaced."""
        session_id = _session_id(collection, key)
        there = session_pb2.Precondition(exists=True)
        mutation = session_pb2.Mutation(key=_FIRST, delete=True, precondition=there)
        try:
            update = pb.UpdateSessionRequest(session_id=session_id, mutations=[mutation])
            await self._calls.update(update, timeout=self._timeout)
        except (NotFound, SessionConflict):
            return False
        return True

    def _lives_long_enough(self, session: session_pb2.Session, ttl: Duration | None) -> bool:
        wanted = (ttl or session.idle_ttl).ToTimedelta().total_seconds()
        left = session.max_expire_time.ToMilliseconds() / 1000 - self._calls.server_time()
        # Without a time to live an entry may live as long as any session: half of that is long enough.
        return left >= (wanted if ttl else wanted / 2)

    async def _replace(self, session: session_pb2.Session, pieces: Mapping[str, str], ttl: Duration | None) -> None:
        incarnation = _incarnation(session)
        mutations = [session_pb2.Mutation(key=name, set=piece) for name, piece in pieces.items()]
        mutations += (session_pb2.Mutation(key=name, delete=True) for name in session.values if name not in pieces)
        update = pb.UpdateSessionRequest(session_id=session.session_id, incarnation=incarnation, mutations=mutations)
        refresh = pb.RefreshSessionRequest(session_id=session.session_id, incarnation=incarnation, idle_ttl=ttl)
        # One stream keeps their order.
        await asyncio.gather(
            self._calls.update(update, timeout=self._timeout), self._calls.refresh(refresh, timeout=self._timeout)
        )


def _session_id(collection: str, key: str) -> str:
    """Any collection and key as an id of the service's alphabet."""
    parts = (collection.encode(), key.encode())
    digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
    return f"kv.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _incarnation(session: session_pb2.Session) -> str:
    return str(session.etag).partition("-")[0]


def _ttl(entry: ManagedEntry) -> Duration | None:
    """What is left of the entry's life; it says itself when exactly it is over."""
    if entry.expires_at is None:
        return None
    ttl = Duration()
    ttl.FromMilliseconds(max(1000, round((entry.expires_at - datetime.now(UTC)).total_seconds() * 1000)))
    return ttl


def _cut(text: str) -> dict[str, str]:
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    return {str(number): json.dumps(piece) for number, piece in enumerate(pieces)}


def _join(values: Mapping[str, Any]) -> str:
    """The text again; empty where the first piece was taken away."""
    if _FIRST not in values:
        return ""
    return "".join(json.loads(values[str(number)]) for number in range(len(values)))
