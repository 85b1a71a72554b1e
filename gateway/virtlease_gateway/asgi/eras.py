"""One endpoint for both eras of the protocol, told apart by the version that a request names.

A request of the modern era stands for itself: any worker can answer it, as JSON, or as a stream as soon as it has
progress or events to tell. Clients of the older versions have a session in the process that met them first, so they
are served only where their requests find that process again.
"""

import json
from typing import Any

from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from virtlease_gateway.asgi.answers import header, refusal


def is_legacy(version: str | None) -> bool:
    """Whether a request is of the older protocol; a version that nobody knows is the modern side's to refuse."""
    return version is None or version in HANDSHAKE_PROTOCOL_VERSIONS


class Eras:
    """Passes requests on, but refuses those of the older protocol unless `legacy` says that they can be served."""

    def __init__(self, app: ASGIApp, *, legacy: bool) -> None:
        self._app = app
        self._legacy = legacy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        version = header(scope, b"mcp-protocol-version") if scope["type"] == "http" else None
        if self._legacy or scope["type"] != "http" or not is_legacy(version):
            await self._app(scope, receive, send)
            return
        supported = list(MODERN_PROTOCOL_VERSIONS)
        refused = refusal(
            400,
            UNSUPPORTED_PROTOCOL_VERSION,
            f"this server has several workers and serves {', '.join(supported)} only: clients of older versions have a "
            "session in one worker; run one worker, or route each session to one and say so",
            data={"supported": supported, "requested": version or ""},
            request_id=await _request_id(Request(scope, receive)),
        )
        await refused(scope, receive, send)


async def _request_id(request: Request) -> Any:
    try:
        body = json.loads(await request.body())
    except ValueError:
        return None
    found = body.get("id") if isinstance(body, dict) else None
    return found if isinstance(found, str | int) else None
