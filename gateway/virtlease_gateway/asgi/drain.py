"""A shutdown that answers what was accepted: streams that only wait are ended, new requests are refused."""

import asyncio

from mcp_types import INTERNAL_ERROR
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from virtlease_gateway.asgi.answers import header, refusal

_LISTEN = "subscriptions/listen"


class Drain:
    """Counts requests, and lets go of those that would otherwise last as long as their clients."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._leaving = asyncio.Event()

    @property
    def leaving(self) -> bool:
        """Whether the server shuts down."""
        return self._leaving.is_set()

    def leave(self) -> None:
        """Begins the shutdown: from now on requests are refused, and waiting streams end."""
        self._leaving.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self.leaving:
            refused = refusal(503, INTERNAL_ERROR, "this server is shutting down", headers={"Retry-After": "1"})
            await refused(scope, receive, send)
        elif scope["method"] == "GET" or header(scope, b"mcp-method") == _LISTEN:
            await self._until_leaving(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _until_leaving(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a stream whose client seems to be gone when the shutdown begins, and ends it as a whole response."""
        unfinished = False

        async def receive_or_leave() -> Message:
            received = asyncio.ensure_future(receive())
            left = asyncio.ensure_future(self._leaving.wait())
            try:
                await asyncio.wait({received, left}, return_when=asyncio.FIRST_COMPLETED)
                return received.result() if received.done() else {"type": "http.disconnect"}
            finally:
                received.cancel()
                left.cancel()

        async def watch(message: Message) -> None:
            nonlocal unfinished
            unfinished = message["type"] == "http.response.start" or bool(message.get("more_body"))
            await send(message)

        await self._app(scope, receive_or_leave, watch)
        if unfinished:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
