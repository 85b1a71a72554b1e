"""The FastMCP server: its tools, its users and what it says of itself."""

from collections.abc import Iterable, Mapping, Sequence

import grpc
from fastmcp import FastMCP
from google.protobuf.descriptor import MethodDescriptor
from mcp.server.request_state import RequestStateSecurity
from opentelemetry import metrics, trace

from virtlease_chassis.identity import Authenticator
from virtlease_gateway.auth import auth_provider
from virtlease_gateway.backend import Backend
from virtlease_gateway.bindings import Bindings
from virtlease_gateway.confirm import Confirmation, Planner
from virtlease_gateway.confirm.confirmation import VALID_SECONDS
from virtlease_gateway.confirm.ledger import Ledger
from virtlease_gateway.confirm.seal import Seal
from virtlease_gateway.contracts import Contract, Effect, RpcTool
from virtlease_gateway.operations import Operations
from virtlease_gateway.policy import HypervisorPolicy, ToolPolicy
from virtlease_gateway.services_file import Offered
from virtlease_gateway.sessions import Sessions
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.tools import RpcCall, RpcToolProvider
from virtlease_gateway.tools.provider import ServedTool
from virtlease_gateway.tools.rpc_call import Kept
from virtlease_gateway.tools.wall import Wall
from virtlease_gateway.users import Introduction

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
    meter: metrics.Meter,
    *,
    read_only: bool,
    key: bytes,
) -> FastMCP:
    """A server with the tools of all services that are offered.

    `channels` are by target; `key` is a secret by which one server knows what another one of the deployment has asked.
    """
    policy = ToolPolicy(settings, read_only=read_only)
    chosen = [(each, tool) for each in offered for tool in each.contract.tools(each.service) if policy.offers(tool)]
    names = frozenset(tool.name for _, tool in chosen)
    kept = Kept(sessions, Bindings(sessions))
    wall = Wall(HypervisorPolicy(settings.allow_hypervisors, settings.deny_hypervisors))
    ledger, seal = Ledger(sessions), Seal(key)
    tools = []
    for each, tool in chosen:

        def backend(method: MethodDescriptor, target: str = each.target) -> Backend:
            return Backend(method, channels[target], introduction, tracer, settings.call_timeout)

        confirmation = None
        if tool.effect is Effect.DESTRUCTIVE and settings.confirmation != "none":
            planner = Planner(tool, backend(tool.planned_by) if tool.planned_by else None)
            tokens = settings.confirmation == "ask_or_token"
            confirmation = Confirmation(tool.name, planner, ledger, seal, tokens=tokens)
        keeps = None if Contract.takes_sessions(each.service) else kept
        call = RpcCall(tool, backend(tool.method), keeps, wall, names, confirmation)
        tools.append(ServedTool.of(call, each.contract))
    aliases = _aliases(tool for _, tool in chosen)
    server = FastMCP(
        "virtlease",
        instructions=_INSTRUCTIONS,
        providers=[RpcToolProvider(tools, aliases)],
        auth=auth_provider(authenticator, settings, (tool.scope for _, tool in chosen)),
        mask_error_details=True,
        request_state_security=RequestStateSecurity(keys=[key], ttl=VALID_SECONDS),
    )
    # FastMCP's middlewares run inside its own, and see no request that fails before a handler: ours is the SDK's.
    known = names | {alias for alias, _ in aliases}
    server._mcp_server.middleware.insert(0, Operations(tracer, meter, known))
    return server


def _aliases(tools: Iterable[RpcTool]) -> list[tuple[str, str]]:
    return [(alias, tool.name) for tool in tools for alias in tool.aliases]
