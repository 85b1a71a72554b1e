"""The composition root: opens everything in order, and closes it in reverse."""

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
from fastmcp import FastMCP
from opentelemetry import trace

from virtlease.client import SessionPipeline
from virtlease_chassis.address import Address
from virtlease_chassis.identity import Authenticator
from virtlease_chassis.process import Process
from virtlease_chassis.rpc import open_channel
from virtlease_gateway.http import PATH, serve_http
from virtlease_gateway.readiness import Readiness
from virtlease_gateway.server import build_server
from virtlease_gateway.services_file import own_services, read_services
from virtlease_gateway.sessions import Sessions
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.users import Introduction

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the services are, and the token by which the gateway is known to them.

    With `acts_for_others` it tells them in whose name it calls; without, the token is the user's own.
    """

    session: str
    pool: str
    token: str | None
    acts_for_others: bool = True

    @classmethod
    def from_settings(cls, settings: GatewaySettings, *, acts_for_others: bool = True) -> "Targets":
        token = settings.token_file.read_text().strip() if settings.token_file else None
        return cls(settings.session_target, settings.pool_target, token, acts_for_others)


@dataclass(frozen=True, slots=True)
class McpServer:
    """The MCP server, and what knows whether it can work."""

    fastmcp: FastMCP
    readiness: Readiness


@contextlib.asynccontextmanager
async def mcp_server(process: Process, authenticator: Authenticator, targets: Targets) -> AsyncIterator[McpServer]:
    """The MCP server, with its channels to the services open."""
    settings = process.settings[GatewaySettings]
    # FastMCP opens a span for each request with the global provider: in one process with the services, ours.
    trace.set_tracer_provider(process.telemetry.tracer_provider("gateway"))
    offered = own_services(targets.session, targets.pool)
    if settings.services_file:
        offered += read_services(settings.services_file)
    introduction = Introduction(targets.token, acts_for_others=targets.acts_for_others)
    async with contextlib.AsyncExitStack() as stack:
        channels: dict[str, grpc.aio.Channel] = {}
        for each in offered:
            if each.target not in channels:
                options = settings.channel(each.target, process.common.max_message_bytes)
                channels[each.target] = await stack.enter_async_context(open_channel(options))
        pipeline = SessionPipeline(channels[targets.session], metadata=introduction.of_gateway)
        stack.push_async_callback(pipeline.close)
        sessions = Sessions(pipeline, introduction, settings.call_timeout)
        tracer = process.telemetry.tracer("gateway")
        server = build_server(offered, channels, sessions, introduction, authenticator, settings, tracer)
        readiness = Readiness([(each.service.full_name, channels[each.target]) for each in offered])
        yield McpServer(server, readiness)


@contextlib.asynccontextmanager
async def gateway(process: Process, authenticator: Authenticator, targets: Targets) -> AsyncIterator[Address]:
    """A running gateway over HTTP; it is drained when the context is left. Yields its address."""
    settings = process.settings[GatewaySettings]
    process.common.check_exposed(settings.address, settings.env_name("address"))
    async with (
        mcp_server(process, authenticator, targets) as server,
        serve_http(server.fastmcp, server.readiness, settings, process.common.drain_timeout) as address,
    ):
        log.info("MCP gateway on http://%s%s", address, PATH)
        yield address


async def serve(process: Process) -> None:
    """Runs the gateway alone until it is told to stop."""
    targets = Targets.from_settings(process.settings[GatewaySettings])
    async with gateway(process, Authenticator(process.common.identity_file), targets):
        await process.until_told_to_stop()
