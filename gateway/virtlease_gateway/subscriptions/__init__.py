"""Clients that want to hear when a resource changes, in both eras of the protocol, and where the news come from."""

from virtlease_gateway.subscriptions.feed import Feed
from virtlease_gateway.subscriptions.hub import Hub
from virtlease_gateway.subscriptions.serve import serve_subscriptions

__all__ = ["Feed", "Hub", "serve_subscriptions"]
