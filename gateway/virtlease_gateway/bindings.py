"""Sessions of clients of the older protocol: their MCP session is bound to one of ours, made at its first call."""

import asyncio
import logging
from collections import OrderedDict

from fastmcp.server.dependencies import get_context
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from virtlease.client import CallFailed
from virtlease_chassis.identity import Principal
from virtlease_gateway.sessions import Sessions

_MOST = 10_000
_LABELS = {"created-by": "gateway"}

log = logging.getLogger(__name__)


class Bindings:
    """Which session belongs to which MCP session. Kept in the process, as the MCP session is."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._bound: OrderedDict[tuple[str, str], asyncio.Task[str]] = OrderedDict()

    async def current(self, user: Principal) -> str | None:
        """The session of the MCP session that is calling; None for a client of the modern protocol, and when none can
        be had: the call is then made without one, as it was asked for."""
        context = get_context()
        request = context.request_context
        if request is None or request.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            return None
        key = (user.name, context.session_id)
        task = self._bound.get(key)
        if task is None:
            task = self._bound[key] = asyncio.create_task(self._sessions.create(user, _LABELS))
            if len(self._bound) > _MOST:
                self._bound.popitem(last=False)
        try:
            return await asyncio.shield(task)
        except CallFailed as failure:
            log.info("an MCP session has no session of ours: %s", failure)
            self._bound.pop(key, None)
            return None

    def forget(self, session_id: str) -> None:
        """Lets the next call make another one: this one is over."""
        for key, task in list(self._bound.items()):
            if task.done() and not task.cancelled() and not task.exception() and task.result() == session_id:
                del self._bound[key]
