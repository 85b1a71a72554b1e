"""The FastMCP server: its tools, its users and what it says of itself."""

from collections.abc import Iterable, Mapping, Sequence

import grpc
from fastmcp import FastMCP
from opentelemetry import trace

from virtlease_chassis.identity import Authenticator
from virtlease_gateway.backend import Backend
from virtlease_gateway.contracts import Contract, Effect, RpcTool
from virtlease_gateway.services_file import Offered
from virtlease_gateway.sessions import Sessions
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.tools import RpcCall, RpcToolProvider
from virtlease_gateway.tools.provider import ServedTool
from virtlease_gateway.users import IdentityVerifier, Introduction

_INSTRUCTIONS = """\
Works with virtual machines on libvirt hypervisors. A VM is named hypervisor/name; list_vms shows which there are.
To keep state between calls, call create_session and pass its session_id to the other tools: the session lives as long
as it is used, and its history records the calls. An error says what happened, whether a retry helps and what to do.
"""


def build_server(
    offered: Sequence[Offered],
    channels: Mapping[str, grpc.aio.Channel],
    sessions: Sessions,
    introduction: Introduction,
    authenticator: Authenticator,
    settings: GatewaySettings,
    tracer: trace.Tracer,
) -> FastMCP:
    """A server with the tools of all services that are offered. `channels` are by target."""
    chosen = [(each, tool) for each in offered for tool in each.contract.tools(each.service) if _is_on(tool, settings)]
    names = frozenset(tool.name for _, tool in chosen)
    tools = []
    for each, tool in chosen:
        backend = Backend(tool, channels[each.target], introduction, tracer, settings.call_timeout)
        keeps = None if Contract.takes_sessions(each.service) else sessions
        tools.append(ServedTool.of(RpcCall(tool, backend, keeps, names), each.contract))
    return FastMCP(
        "virtlease",
        instructions=_INSTRUCTIONS,
        providers=[RpcToolProvider(tools, _aliases(tool for _, tool in chosen))],
        auth=None if authenticator.anonymous else IdentityVerifier(authenticator),
        mask_error_details=True,
    )


def _is_on(tool: RpcTool, settings: GatewaySettings) -> bool:
    """Whether a tool is offered. What can lose data is not, as long as nobody can be asked to confirm it."""
    if tool.effect is Effect.DESTRUCTIVE or (settings.read_only and tool.effect is not Effect.READ):
        return False
    return not tool.toolset or tool.toolset in settings.toolsets


def _aliases(tools: Iterable[RpcTool]) -> list[tuple[str, str]]:
    return [(alias, tool.name) for tool in tools for alias in tool.aliases]
