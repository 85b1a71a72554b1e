"""One line a request: who called what, how it was answered, how long it took, and its trace."""

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from virtlease_gateway.asgi.answers import header

OPERATION = "virtlease.operation"
"""The key of an ASGI scope under which the handlers leave what they know of the request, for its line in the log."""

log = logging.getLogger("virtlease_gateway.access")


class AccessLog:
    """Writes the line when the last byte is out. Arguments and tokens are never in it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        operation: dict[str, Any] = {}
        scope[OPERATION] = operation
        status = size = 0

        async def watch(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            self._write(scope, operation, status, size, time.perf_counter() - started)

    def _write(self, scope: Scope, operation: dict[str, Any], status: int, size: int, seconds: float) -> None:
        client = scope.get("client") or ("", 0)
        fields = {
            "http_method": scope["method"],
            "path": scope["path"],
            "status": status,
            "bytes": size,
            "duration_ms": round(seconds * 1000, 3),
            "client": client[0],
            "protocol": header(scope, b"mcp-protocol-version") or "",
            **operation,
        }
        what = " ".join(str(operation[key]) for key in ("mcp_method", "mcp_name") if operation.get(key))
        log.info("%s %s %d", scope["method"], what or scope["path"], status, extra=fields)
