"""Sessions that VM calls are made with: checked before the call, told of it after."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import grpc

from virtlease.client import CallFailed, SessionPipeline
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2, session_service_pb2_grpc, watch_pb2
from virtlease_chassis.identity import Principal
from virtlease_chassis.telemetry import traceparent
from virtlease_gateway.users import Introduction

HISTORY_KEY = "_history"
_HISTORY_ITEMS = 100
_HISTORY_BYTES = 48 * 1024

_PAUSE = 1.0
_OVER = (watch_pb2.SESSION_EVENT_TYPE_EXPIRED, watch_pb2.SESSION_EVENT_TYPE_ENDED)

log = logging.getLogger(__name__)


class Sessions:
    """The session service, as far as calls to other services need it. `timeout` is in seconds."""

    def __init__(
        self, pipeline: SessionPipeline, channel: grpc.aio.Channel, introduction: Introduction, timeout: float
    ) -> None:
        """`channel` leads to the service too, for what the pipeline has not."""
        self._pipeline = pipeline
        self._stub = session_service_pb2_grpc.SessionServiceStub(channel)
        self._introduction = introduction
        self._timeout = timeout
        self._later: set[asyncio.Task[None]] = set()

    async def check(self, session_id: str, user: Principal) -> None:
        """Makes sure that the session is the user's and lives, and moves its deadline. Raises CallFailed."""
        request = calls.GetSessionRequest(session_id=session_id, omit_values=True)
        await self._pipeline.get(request, **self._options(user))

    async def create(self, user: Principal, labels: Mapping[str, str], **more: Any) -> str:
        """Makes a session of the user's, with more fields of CreateSession, and returns its id. Raises CallFailed."""
        request = calls.CreateSessionRequest(labels=labels, **more)
        made = await self._pipeline.create(request, **self._options(user))
        session_id: str = made.session.session_id
        return session_id

    async def record(self, session_id: str, user: Principal, entry: Mapping[str, Any]) -> None:
        """Appends a call to the session's history, which is a use of the session. Raises CallFailed.

        What happened is recorded even when whoever asked for it has gone meanwhile.
        """
        task = asyncio.create_task(self._append(session_id, user, entry))
        self._later.add(task)
        task.add_done_callback(self._done)
        await asyncio.shield(task)

    async def _append(self, session_id: str, user: Principal, entry: Mapping[str, Any]) -> None:
        append = session_pb2.Append(
            item=json.dumps(entry, separators=(",", ":")), max_items=_HISTORY_ITEMS, max_bytes=_HISTORY_BYTES
        )
        request = calls.UpdateSessionRequest(
            session_id=session_id,
            mutations=[session_pb2.Mutation(key=HISTORY_KEY, append=append)],
            system_keys=True,
        )
        await self._pipeline.update(request, **self._options(user))

    def record_later(self, session_id: str, user: Principal, entry: Mapping[str, Any]) -> None:
        """The same for a caller who is gone: nobody waits for it, and a failure is only logged."""
        task = asyncio.create_task(self._append(session_id, user, entry))
        self._later.add(task)
        task.add_done_callback(self._done)

    async def close(self) -> None:
        """Waits for what is being recorded."""
        await asyncio.gather(*self._later, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.warning("a call was not recorded in its session: %s", failure)

    async def wait_until_over(self, session_id: str, user: Principal) -> None:
        """Returns when a session has ended or expired, or is not the user's."""
        request = watch_pb2.WatchSessionsRequest(session_id=session_id)
        while True:
            try:
                async for response in self._stub.WatchSessions(request, metadata=self._introduction.metadata(user)):
                    if any(event.type in _OVER for event in response.events):
                        return
                    if not request.resume_token:
                        await self._peek(session_id, user)  # it may have been over before the watch began
                    request.resume_token = response.resume_token
            except CallFailed as failure:
                if session_is_over(failure):
                    return
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                    request.resume_token = ""
            await asyncio.sleep(_PAUSE)

    async def _peek(self, session_id: str, user: Principal) -> None:
        request = calls.GetSessionRequest(session_id=session_id, omit_values=True, peek=True)
        await self._pipeline.get(request, **self._options(user))

    def _options(self, user: Principal) -> dict[str, Any]:
        return {
            "timeout": self._timeout,
            "traceparent": traceparent(),
            "principal": self._introduction.principal(user),
        }


def history_entry(
    *,
    command: str,
    vm_id: str,
    arguments: Mapping[str, Any],
    started: datetime,
    outcome: str,
    seconds: float,
    trace_id: str,
) -> dict[str, Any]:
    """What a session's history says of a call. `arguments` must hold no secret."""
    return {
        "command": command,
        "vm_id": vm_id,
        "args": dict(arguments),
        "time": started.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "outcome": outcome,
        "duration_ms": round(seconds * 1000, 3),
        "trace_id": trace_id,
    }


def session_is_over(failure: CallFailed) -> bool:
    """Whether a call failed since its session is not, or no longer, the user's."""
    return failure.code is grpc.StatusCode.NOT_FOUND


def session_ref(session_id: str) -> str:
    """A name for a session that is safe to log: who has the id of an anonymous session has the session."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:16]
