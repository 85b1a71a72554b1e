"""What services offer, read from their descriptors."""

from virtlease_gateway.contracts.contract import Contract
from virtlease_gateway.contracts.rpc_resource import RpcCompletion, RpcResource, RpcWatch
from virtlease_gateway.contracts.rpc_tool import Effect, RpcTool

__all__ = ["Contract", "Effect", "RpcCompletion", "RpcResource", "RpcTool", "RpcWatch"]
