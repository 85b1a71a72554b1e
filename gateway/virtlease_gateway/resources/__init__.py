"""RPCs as MCP resources."""

from virtlease_gateway.resources.completion import Completer
from virtlease_gateway.resources.provider import RpcResourceProvider
from virtlease_gateway.resources.reading import Reading

__all__ = ["Completer", "Reading", "RpcResourceProvider"]
