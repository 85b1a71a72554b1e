"""Tool calls of the modern era, from the HTTP request to its answer with nothing in between that they do not need.

A request that stands for itself, for a tool that says nothing before its answer, needs no connection, no server context
and no models of the messages: those take longer than all else that a call does. What is odd in any way goes to the SDK,
which knows how to refuse it: this serves only what is right. Its answers are the SDK's to the letter.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.streamable_http import check_accept_headers
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request, find_duplicated_routing_header
from mcp_types import INTERNAL_ERROR
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from virtlease_gateway.asgi.answers import header

_METHOD = "tools/call"
_BODY = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMS = frozenset({"name", "arguments", "_meta"})
_PROGRESS = "progressToken"
_CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
_SERVER_INFO = "io.modelcontextprotocol/serverInfo"
_PING_SECONDS = 15.0
_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-transform")]

log = logging.getLogger(__name__)


Call = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Runs one tool: takes the arguments, and returns the result as it goes over the wire."""


class Observe(Protocol):
    """Surrounds a call with its span and its metrics."""

    async def __call__(self, ctx: Any, call_next: Any) -> Any: ...


@dataclass(slots=True)
class _Context:
    """What is observed of a call: as much of the SDK's request context as there is."""

    request_id: str | int
    method: str
    params: dict[str, Any]
    protocol_version: str
    meta: dict[str, Any]
    request: Request


class QuickCalls:
    """Answers calls of the given tools, and passes everything else on."""

    def __init__(
        self,
        app: ASGIApp,
        calls: Mapping[str, Call],
        observe: Observe,
        server_info: Mapping[str, str],
        path: str,
        *,
        asks_who: bool,
    ) -> None:
        """With `asks_who`, a request without a user is left to whoever refuses it."""
        self._app = app
        self._calls = calls
        self._observe = observe
        self._server_info = {_SERVER_INFO: dict(server_info)}
        self._path = path
        self._asks_who = asks_who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._may_be_quick(scope):
            await self._app(scope, receive, send)
            return
        message = await receive()  # the whole body: who limits it has gathered it
        context = self._read(Request(scope), message)
        if context is None:
            await self._app(scope, _again(message, receive), send)
            return
        await self._answer(context, receive, send)

    def _may_be_quick(self, scope: Scope) -> bool:
        return (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and scope["path"] == self._path
            and header(scope, b"mcp-method") == _METHOD
            and header(scope, b"mcp-name") in self._calls
            and header(scope, b"mcp-protocol-version") in MODERN_PROTOCOL_VERSIONS
            and (not self._asks_who or isinstance(scope.get("user"), AuthenticatedUser))
        )

    def _read(self, request: Request, message: Message) -> _Context | None:
        """The call that a request makes; None for one that is not as it should be."""
        if (
            message["type"] != "http.request"
            or message.get("more_body")
            or check_accept_headers(request) != (True, True)
        ):
            return None
        try:
            body = json.loads(message["body"])
        except (ValueError, RecursionError):
            return None
        if not isinstance(body, dict) or body.keys() != _BODY or body["jsonrpc"] != "2.0":
            return None
        params, request_id = body["params"], body["id"]
        if not isinstance(request_id, str | int) or isinstance(request_id, bool) or not isinstance(params, dict):
            return None
        if not params.keys() <= _PARAMS or not isinstance(params.get("arguments", {}), dict):
            return None
        if find_duplicated_routing_header(request.headers.items()) is not None:
            return None
        route = classify_inbound_request(body, headers=request.headers)
        if not isinstance(route, InboundModernRoute) or not _is_usual(params["_meta"]):
            return None
        return _Context(request_id, _METHOD, params, route.protocol_version, params["_meta"], request)

    async def _answer(self, context: _Context, receive: Receive, send: Send) -> None:
        """Runs the call; one whose client has gone is cancelled, and one that takes long is kept alive by pings."""
        call = asyncio.ensure_future(self._run(context))
        gone = asyncio.ensure_future(_until_gone(receive))
        streaming = False
        try:
            while not (await asyncio.wait({call, gone}, timeout=_PING_SECONDS, return_when=asyncio.FIRST_COMPLETED))[0]:
                if not streaming:
                    await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
                    streaming = True
                await send({"type": "http.response.body", "body": b": ping\r\n\r\n", "more_body": True})
            if not call.done():
                return
            body = json.dumps(call.result(), ensure_ascii=False, separators=(",", ":")).encode()
            if streaming:
                body = b"event: message\r\ndata: " + body + b"\r\n\r\n"
            else:
                head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
                await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": body})
        finally:
            gone.cancel()
            if not call.done():
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

    async def _run(self, context: _Context) -> dict[str, Any]:
        name, arguments = context.params["name"], context.params.get("arguments") or {}
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": context.request_id}
        try:
            result = await self._observe(context, lambda _: self._calls[name](arguments))
        except Exception:
            log.exception("a call of %s failed", name)
            return {**answer, "error": {"code": INTERNAL_ERROR, "message": "Internal server error"}}
        return {**answer, "result": {**result, "_meta": {**result.get("_meta", {}), **self._server_info}}}


def _is_usual(meta: Mapping[str, Any]) -> bool:
    """Whether `_meta` asks for nothing but an answer, and has the shapes that it should have."""
    info = meta.get(_CLIENT_INFO, {"name": "", "version": ""})
    return (
        _PROGRESS not in meta
        and isinstance(meta[_CAPABILITIES], dict)
        and isinstance(info, dict)
        and isinstance(info.get("name"), str)
        and isinstance(info.get("version"), str)
    )


def _again(message: Message, receive: Receive) -> Receive:
    """Receives the message that was taken already once more, and then the rest."""
    waiting = [message]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
