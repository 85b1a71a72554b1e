"""The tools as FastMCP serves them."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastmcp.server.providers import Provider
from fastmcp.tools import Tool, ToolResult
from fastmcp.utilities.versions import VersionSpec
from mcp_types import ToolAnnotations
from pydantic import PrivateAttr

from virtlease_gateway.contracts import Contract, Effect, RpcTool
from virtlease_gateway.tools.roles import Roles
from virtlease_gateway.tools.rpc_call import CONFIRMATION_ARGUMENT, SESSION_ARGUMENT, RpcCall
from virtlease_gateway.translate import input_schema, output_schema

_SESSION_SCHEMA = {
    "type": "string",
    "description": "A session to make the call with: it is kept alive, and its history records the call.",
}
_CONFIRMATION_SCHEMA = {
    "type": "string",
    "description": "The confirmation that an earlier call with the same arguments returned with its plan. Give it only "
    "when whoever you work for agrees to the plan.",
}


class ServedTool(Tool):
    """A FastMCP tool whose calls are an RPC."""

    _call: RpcCall = PrivateAttr()

    @property
    def call(self) -> RpcCall:
        """What carries out its calls."""
        return self._call

    @classmethod
    def of(cls, call: RpcCall, contract: Contract) -> "ServedTool":
        """Describes the tool to clients. Raises RecursiveMessage."""
        tool = call.tool
        parameters = input_schema(tool.method.input_type, contract.comments)
        if call.takes_session:
            parameters["properties"][SESSION_ARGUMENT] = _SESSION_SCHEMA
        if call.takes_confirmation:
            parameters["properties"][CONFIRMATION_ARGUMENT] = _CONFIRMATION_SCHEMA
        served = cls(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            parameters=parameters,
            output_schema=output_schema(Roles.of(tool.method).result_type, contract.comments),
            annotations=_annotations(tool),
            tags={tool.toolset, tool.effect.name.lower()} - {""},
        )
        served._call = call
        return served

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        return (await self.call.run(arguments)).to_tool_result()


class RpcToolProvider(Provider):
    """Lists the tools by their names, and finds them by their aliases too."""

    def __init__(self, tools: Iterable[ServedTool], aliases: Iterable[tuple[str, str]]) -> None:
        """`aliases` are pairs of an alias and a name."""
        super().__init__()
        self._tools = {tool.name: tool for tool in tools}
        self._aliases = {alias: name for alias, name in aliases if name in self._tools}

    async def _list_tools(self) -> Sequence[Tool]:
        return list(self._tools.values())

    async def _get_tool(self, name: str, version: VersionSpec | None = None) -> Tool | None:
        return self._tools.get(self._aliases.get(name, name))


def _annotations(tool: RpcTool) -> ToolAnnotations:
    return ToolAnnotations(
        title=tool.title,
        read_only_hint=tool.effect is Effect.READ,
        destructive_hint=tool.effect is Effect.DESTRUCTIVE,
        idempotent_hint=tool.idempotent,
        open_world_hint=tool.open_world,
    )
