"""Sessions that VM calls are made with: checked before the call, told of it after."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from virtlease.client import CallFailed, SessionPipeline
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2
from virtlease_chassis.identity import Principal
from virtlease_chassis.telemetry import traceparent
from virtlease_gateway.users import Introduction

HISTORY_KEY = "_history"
_HISTORY_ITEMS = 100
_HISTORY_BYTES = 48 * 1024

log = logging.getLogger(__name__)


class Sessions:
    """The session service, as far as calls to other services need it. `timeout` is in seconds."""

    def __init__(self, pipeline: SessionPipeline, introduction: Introduction, timeout: float) -> None:
        self._pipeline = pipeline
        self._introduction = introduction
        self._timeout = timeout

    async def check(self, session_id: str, user: Principal) -> None:
        """Makes sure that the session is the user's and lives, and moves its deadline. Raises CallFailed."""
        request = calls.GetSessionRequest(session_id=session_id, omit_values=True)
        await self._pipeline.get(request, **self._options(user))

    async def record(self, session_id: str, user: Principal, entry: Mapping[str, Any]) -> bool:
        """Appends a call to the session's history. Returns whether that worked: it never fails the call itself."""
        append = session_pb2.Append(
            item=json.dumps(entry, separators=(",", ":")), max_items=_HISTORY_ITEMS, max_bytes=_HISTORY_BYTES
        )
        request = calls.UpdateSessionRequest(
            session_id=session_id,
            mutations=[session_pb2.Mutation(key=HISTORY_KEY, append=append)],
            system_keys=True,
        )
        try:
            await self._pipeline.update(request, **self._options(user))
        except CallFailed as failure:
            log.warning("a call was not recorded in its session: %s", failure)
            return False
        return True

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
