"""Header values without the whitespace around them, which is none of the value (RFC 9110, section 5.5)."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TrimHeaders:
    """httptools leaves a value what stands after it; the headers that route an MCP request are compared as a whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await self._app(scope, receive, send)
