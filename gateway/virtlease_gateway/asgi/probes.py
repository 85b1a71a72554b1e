"""/healthz says that the gateway runs, /readyz that it can work.

They are answered before anything looks at the request: a probe has no token, and knows the gateway by an address that
is none of its names.
"""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from virtlease_gateway.asgi.drain import Drain
from virtlease_gateway.readiness import Readiness


class Probes:
    """An ASGI app that answers probes, and passes everything else on."""

    def __init__(self, app: ASGIApp, readiness: Readiness, drain: Drain) -> None:
        self._app = app
        self._readiness = readiness
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope.get("path") if scope["type"] == "http" else None:
            case "/healthz":
                await JSONResponse({"status": "ok"})(scope, receive, send)
            case "/readyz":
                await (await self._ready())(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def _ready(self) -> JSONResponse:
        services = await self._readiness.services()
        ready = all(services.values()) and not self._drain.leaving
        return JSONResponse({"ready": ready, "services": services}, status_code=200 if ready else 503)
