"""The requests by which clients subscribe: `subscriptions/listen`, and `resources/subscribe` of the older protocol.

FastMCP has neither. The handlers are given to the SDK's server under it.
"""

import logging
from collections.abc import Callable
from typing import Any

import mcp_types
from fastmcp import FastMCP
from fastmcp.server.dependencies import bind_request_context
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError

from virtlease_chassis.identity import Principal
from virtlease_gateway.subscriptions.hub import Hub
from virtlease_gateway.subscriptions.sender import Sender
from virtlease_gateway.users import current_user

_MOST_URIS = 1000
_STATE = "virtlease_subscriptions"

log = logging.getLogger(__name__)


def serve_subscriptions(server: FastMCP, hub: Hub) -> None:
    """Makes the server answer them."""
    requests = _Subscriptions(hub)
    low = server._mcp_server
    low.add_request_handler("subscriptions/listen", mcp_types.SubscriptionsListenRequestParams, requests.listen)
    low.add_request_handler("resources/subscribe", mcp_types.SubscribeRequestParams, requests.subscribe)
    low.add_request_handler("resources/unsubscribe", mcp_types.UnsubscribeRequestParams, requests.unsubscribe)


class _Subscriptions:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def listen(
        self, ctx: ServerRequestContext[Any, Any], params: mcp_types.SubscriptionsListenRequestParams
    ) -> mcp_types.SubscriptionsListenResult:
        """The modern era: the answer is a stream of news, as long as the client reads it."""
        uris = list(params.notifications.resource_subscriptions or ())
        _check(len(uris))
        with bind_request_context(ctx):
            user = current_user()
        bus = self._hub.want(user, uris)
        try:
            return await bus.listen(ctx, params)
        finally:
            self._hub.drop(user, uris)

    async def subscribe(
        self, ctx: ServerRequestContext[Any, Any], params: mcp_types.SubscribeRequestParams
    ) -> mcp_types.EmptyResult:
        """The older protocol: the news come on the stream that the client keeps open for the whole MCP session."""
        with bind_request_context(ctx):
            user = current_user()
        state = ctx.session._connection.state
        if _STATE not in state:
            state[_STATE] = _Legacy(self._hub, user, ctx.session.send_resource_updated)
            ctx.session._connection.exit_stack.callback(state[_STATE].close)
        state[_STATE].add(str(params.uri))
        return mcp_types.EmptyResult()

    async def unsubscribe(
        self, ctx: ServerRequestContext[Any, Any], params: mcp_types.UnsubscribeRequestParams
    ) -> mcp_types.EmptyResult:
        """Takes `subscribe` back."""
        legacy = ctx.session._connection.state.get(_STATE)
        if legacy is not None:
            legacy.remove(str(params.uri))
        return mcp_types.EmptyResult()


class _Legacy:
    """The subscriptions of one MCP session of the older protocol."""

    def __init__(self, hub: Hub, user: Principal, send: Callable[[str], Any]) -> None:
        self._hub = hub
        self._user = user
        self._uris: set[str] = set()
        self._sender = Sender(send)
        self._unsubscribe: Callable[[], None] | None = None

    def add(self, uri: str) -> None:
        if uri in self._uris:
            return
        _check(len(self._uris) + 1)
        bus = self._hub.want(self._user, [uri])
        self._uris.add(uri)
        if self._unsubscribe is None:
            self._unsubscribe = bus.bus.subscribe(self._hear)

    def remove(self, uri: str) -> None:
        if uri not in self._uris:
            return
        self._uris.remove(uri)
        if not self._uris and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._hub.drop(self._user, [uri])

    def close(self) -> None:
        for uri in list(self._uris):
            self.remove(uri)
        self._sender.close()

    def _hear(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated) and event.uri in self._uris:
            self._sender.send(event.uri)


def _check(count: int) -> None:
    if count > _MOST_URIS:
        raise MCPError(mcp_types.INVALID_PARAMS, f"at most {_MOST_URIS} resources")
