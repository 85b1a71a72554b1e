"""The composition root: opens everything in order, and closes it in reverse."""

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
from fastmcp import FastMCP

from virtlease.client import SessionPipeline
from virtlease_chassis.address import Address
from virtlease_chassis.identity import Authenticator
from virtlease_chassis.process import Process
from virtlease_chassis.rpc import open_channel
from virtlease_chassis.settings import SettingsError
from virtlease_gateway.auth import auth_provider
from virtlease_gateway.backend import Backends
from virtlease_gateway.http import PATH, Quick, serve_http
from virtlease_gateway.offer import Offer
from virtlease_gateway.operations import Operations
from virtlease_gateway.policy import is_read_only
from virtlease_gateway.readiness import Readiness
from virtlease_gateway.server import build_server
from virtlease_gateway.services_file import own_services, read_services
from virtlease_gateway.sessions import Sessions
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.shared import Shared
from virtlease_gateway.users import Introduction

_KEY_BYTES = 32
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
    quick: Quick


@contextlib.asynccontextmanager
async def mcp_server(
    process: Process, authenticator: Authenticator, targets: Targets, *, read_only: bool, key: bytes | None = None
) -> AsyncIterator[McpServer]:
    """The MCP server, with its channels to the services open. `key` is shared with other workers, if there are any."""
    settings = process.settings[GatewaySettings]
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
        sessions = Sessions(pipeline, channels[targets.session], introduction, settings.call_timeout)
        stack.push_async_callback(sessions.close)
        tracer = process.telemetry.tracer("gateway")
        backends = Backends(channels, introduction, tracer, settings.call_timeout)
        offer = Offer(settings, backends, sessions, read_only=read_only, key=_key(settings) or key)
        for each in offered:
            offer.add(each)
        stack.push_async_callback(offer.leases.close)
        auth = auth_provider(authenticator, settings, offer.scopes)
        operations = Operations(tracer, process.telemetry.meter, frozenset(offer.names))
        server = build_server(offer, auth, operations)
        readiness = Readiness([(each.service.full_name, channels[each.target]) for each in offered])
        yield McpServer(server, readiness, Quick(offer.quick_calls(), operations))


@contextlib.asynccontextmanager
async def gateway(
    process: Process, authenticator: Authenticator, targets: Targets, shared: Shared | None = None
) -> AsyncIterator[Address]:
    """A running gateway over HTTP; it is drained when the context is left. Yields its address.

    Where others can reach it and nobody is asked who they are, it offers no tool that writes.
    """
    settings = process.settings[GatewaySettings]
    if settings.workers > 1 and shared is None:
        name = settings.env_name("workers")
        raise SettingsError([f"{name}: only `virtlease gateway` has several workers; one process has one"])
    asks = not authenticator.anonymous or settings.jwt_jwks_uri is not None
    if not asks:
        process.common.check_exposed(settings.address, settings.env_name("address"))
    listener, key = (shared.listener, shared.key) if shared else (None, None)
    read_only = is_read_only(settings, asks_who=asks)
    async with mcp_server(process, authenticator, targets, read_only=read_only, key=key) as server:
        drain = process.common.drain_timeout
        serving = serve_http(server.fastmcp, server.readiness, settings, drain, listener=listener, quick=server.quick)
        async with serving as address:
            log.info("MCP gateway on http://%s%s", address, PATH)
            yield address


async def serve(process: Process, shared: Shared | None = None) -> None:
    """Runs the gateway alone until it is told to stop. `shared` is for one of several workers."""
    targets = Targets.from_settings(process.settings[GatewaySettings])
    async with gateway(process, Authenticator(process.common.identity_file), targets, shared):
        await process.until_told_to_stop()


def _key(settings: GatewaySettings) -> bytes | None:
    """The secret of the deployment, if it has one. Raises SettingsError for one that is too short to be a secret."""
    if settings.key_file is None:
        return None
    key = settings.key_file.read_bytes().strip()
    if len(key) < _KEY_BYTES:
        raise SettingsError([f"{settings.env_name('key_file')}: at least {_KEY_BYTES} bytes, not {len(key)}"])
    return key
