"""RPCs as FastMCP tools."""

from virtlease_gateway.tools.provider import RpcToolProvider
from virtlease_gateway.tools.rpc_call import RpcCall

__all__ = ["RpcCall", "RpcToolProvider"]
