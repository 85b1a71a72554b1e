"""The FastMCP server: its tools, resources and prompts, its users and what it says of itself."""

import logging
from importlib.metadata import version

from fastmcp import FastMCP
from fastmcp.server.auth import AuthProvider
from mcp.server.request_state import RequestStateSecurity
from mcp.shared.exceptions import MCPError

from virtlease_gateway.confirm.confirmation import VALID_SECONDS
from virtlease_gateway.offer import Offer
from virtlease_gateway.operations import Operations
from virtlease_gateway.prompts import PromptProvider
from virtlease_gateway.resources import RpcResourceProvider
from virtlease_gateway.subscriptions import Hub, serve_subscriptions
from virtlease_gateway.tools import RpcToolProvider

_INSTRUCTIONS = """\
Works with virtual machines on libvirt hypervisors. A VM is named hypervisor/name; list_vms shows which there are.
To keep state between calls, call create_session and pass its session_id to the other tools: the session lives as long
as it is used, and its history records the calls. An error says what happened, whether a retry helps and what to do.
"""


class _Unexpected(logging.Filter):
    """FastMCP logs the refusals that a client is told of as if they were faults of ours, with a stack."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and record.exc_info[0] is not None and issubclass(record.exc_info[0], MCPError))


logging.getLogger("fastmcp.server.server").addFilter(_Unexpected())


def build_server(offer: Offer, auth: AuthProvider | None, operations: Operations) -> FastMCP:
    """A server with all that is offered."""
    prompts = PromptProvider(offer.names)
    operations.names |= prompts.names
    server = FastMCP(
        "virtlease",
        version=version("virtlease-gateway"),
        instructions=_INSTRUCTIONS,
        providers=[
            RpcToolProvider(offer.tools, offer.aliases.items()),
            RpcResourceProvider(offer.readings),
            prompts,
        ],
        auth=auth,
        mask_error_details=True,
        request_state_security=RequestStateSecurity(keys=[offer.key], ttl=VALID_SECONDS),
    )
    server.completion(offer.completer.complete)
    install(server, operations, Hub(offer.feeds))
    return server


def install(server: FastMCP, operations: Operations, hub: Hub) -> None:
    """Puts round a server what every one of ours has: its telemetry and its subscriptions.

    FastMCP's own middlewares run further inside, and see no request that fails before a handler; these are the SDK's.
    """
    server._mcp_server.middleware.insert(0, operations)
    serve_subscriptions(server, hub)
