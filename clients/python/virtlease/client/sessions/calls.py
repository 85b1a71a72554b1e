"""The calls of the session service, in values of Python. They run on the loop thread."""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from virtlease.client.advice import advising
from virtlease.client.session_pipeline import SessionPipeline
from virtlease.client.target import Target
from virtlease.session.v1 import session_calls_pb2 as pb
from virtlease.session.v1 import session_pb2


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a session expires: the service's time of day, and this process's monotonic clock."""

    expires_at: datetime
    at: float

    @property
    def remaining(self) -> float:
        """Seconds that are left; 0 when the time is up."""
        return max(0.0, self.at - time.monotonic())


@dataclass(frozen=True, slots=True)
class State:
    """A session as the service answered it."""

    session_id: str
    incarnation: str
    texts: Mapping[str, str]
    labels: Mapping[str, str]
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session is created with. Times in seconds; None is the service's default."""

    ttl: float | None = None
    max_life: float | None = None
    texts: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None


class SessionCalls:
    """Each call raises CallFailed. `traceparent` is the trace of the caller."""

    def __init__(self, pipeline: SessionPipeline, target: Target, timeout: float) -> None:
        self._pipeline = pipeline
        self._target = target
        self._timeout = timeout

    async def get_or_create(self, session_id: str, terms: Terms, traceparent: str) -> State:
        """The session of that id, created if there is none; a new one for an empty id."""
        request = pb.GetOrCreateSessionRequest(session_id=session_id, values=terms.texts, labels=terms.labels)
        if terms.ttl is not None:
            request.idle_ttl.CopyFrom(_duration(terms.ttl))
        if terms.max_life is not None:
            request.max_life.CopyFrom(_duration(terms.max_life))
        return self._state((await self._call(self._pipeline.get_or_create, request, traceparent)).session)

    async def get(self, session_id: str, traceparent: str, keys: Sequence[str] = ()) -> State:
        """The session with all its values, or with those of some keys; this counts as a use."""
        request = pb.GetSessionRequest(session_id=session_id, keys=keys)
        return self._state((await self._call(self._pipeline.get, request, traceparent)).session)

    async def update(
        self, session_id: str, incarnation: str, mutations: Sequence[session_pb2.Mutation], traceparent: str
    ) -> Deadline:
        """Applies all mutations or none. Returns the new deadline."""
        request = pb.UpdateSessionRequest(session_id=session_id, incarnation=incarnation, mutations=mutations)
        return self._deadline((await self._call(self._pipeline.update, request, traceparent)).expire_time)

    async def refresh(self, session_id: str, ttl: float | None, traceparent: str) -> Deadline:
        """Moves the deadline, by another time to live from now on if one is given. Returns it."""
        request = pb.RefreshSessionRequest(session_id=session_id)
        if ttl is not None:
            request.idle_ttl.CopyFrom(_duration(ttl))
        return self._deadline((await self._call(self._pipeline.refresh, request, traceparent)).expire_time)

    async def end(self, session_id: str, traceparent: str) -> None:
        """Ends the session."""
        await self._call(self._pipeline.end, pb.EndSessionRequest(session_id=session_id), traceparent)

    async def _call(self, method: Any, request: Any, traceparent: str) -> Any:
        with advising("session", self._target):
            return await method(request, timeout=self._timeout, traceparent=traceparent)

    def _state(self, session: session_pb2.Session) -> State:
        incarnation = session.etag.partition("-")[0]
        deadline = self._deadline(session.expire_time)
        return State(
            session.session_id, incarnation, dict(sorted(session.values.items())), dict(session.labels), deadline
        )

    def _deadline(self, expire_time: Timestamp) -> Deadline:
        seconds = expire_time.ToMilliseconds() / 1000
        left = seconds - self._pipeline.server_time()
        return Deadline(datetime.fromtimestamp(seconds, UTC), time.monotonic() + left)


@contextlib.asynccontextmanager
async def session_calls(target: Target, timeout: float) -> AsyncIterator[SessionCalls]:
    """Calls to a service over a channel of their own."""
    async with target.open_channel() as channel:
        pipeline = SessionPipeline(channel, metadata=target.metadata)
        try:
            yield SessionCalls(pipeline, target, timeout)
        finally:
            await pipeline.close()


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
