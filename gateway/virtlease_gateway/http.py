"""Serving MCP over streamable HTTP."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import uvicorn
from fastmcp import FastMCP
from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from virtlease_chassis.address import Address
from virtlease_chassis.settings import SettingsError
from virtlease_gateway.asgi.access_log import AccessLog
from virtlease_gateway.asgi.drain import Drain
from virtlease_gateway.asgi.eras import Eras
from virtlease_gateway.asgi.probes import Probes
from virtlease_gateway.asgi.quick_calls import Call, Observe, QuickCalls
from virtlease_gateway.asgi.rates import RateLimit, TokenBuckets
from virtlease_gateway.asgi.whitespace import TrimHeaders
from virtlease_gateway.readiness import Readiness
from virtlease_gateway.settings import GatewaySettings

PATH = "/mcp"


@dataclass(frozen=True, slots=True)
class Quick:
    """The tools whose calls need no server, and what surrounds each call."""

    calls: Mapping[str, Call]
    observe: Observe


def asgi_app(
    server: FastMCP, readiness: Readiness, settings: GatewaySettings, quick: Quick | None
) -> tuple[ASGIApp, Drain]:
    """The whole way from HTTP to the MCP server, and what begins its shutdown."""
    inner = [Middleware(Eras, legacy=settings.serves_legacy)]
    if quick is not None:
        info = {"name": server.name, "version": server.version or ""}
        inner.append(Middleware(QuickCalls, quick.calls, quick.observe, info, PATH, asks_who=server.auth is not None))
    if settings.rate_limit:
        inner.insert(0, Middleware(RateLimit, buckets=TokenBuckets(settings.rate_limit)))
    app: ASGIApp = server.http_app(
        path=PATH,
        middleware=inner,
        host_origin_protection=True,
        allowed_hosts=[settings.address.host, *settings.allowed_hosts],
        allowed_origins=list(settings.allowed_origins) or None,
    )
    drain = Drain(TrimHeaders(RequestBodyLimitMiddleware(app, settings.max_request_bytes)))
    app = AccessLog(drain) if settings.access_log else drain
    return Probes(app, readiness, drain), drain


@contextlib.asynccontextmanager
async def serve_http(
    server: FastMCP,
    readiness: Readiness,
    settings: GatewaySettings,
    drain_timeout: float,
    *,
    listener: socket.socket | None = None,
    quick: Quick | None = None,
) -> AsyncIterator[Address]:
    """Serves until the context is left; then answers what was accepted, for at most `drain_timeout` seconds.

    `listener` is a socket that several processes share; one of its own when absent. Yields the address. Raises
    SettingsError that names the setting when the address cannot be had.
    """
    listener = listener or listen(settings)
    host, port = listener.getsockname()[:2]
    app, drain = asgi_app(server, readiness, settings, quick)
    config = uvicorn.Config(
        app,
        http="httptools",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=max(1, round(drain_timeout)),
        lifespan="on",
    )
    runner = _Uvicorn(config)
    async with _running(runner, listener):
        try:
            yield Address(host=str(host), port=int(port))
        finally:
            drain.leave()


class _Uvicorn(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _running(runner: uvicorn.Server, listener: socket.socket) -> AsyncIterator[None]:
    serving = asyncio.create_task(runner.serve(sockets=[listener]))
    try:
        while not runner.started:
            if serving.done():
                serving.result()
                raise RuntimeError("the HTTP server stopped at its start")
            await asyncio.sleep(0.01)
        yield
    finally:
        runner.should_exit = True
        await serving


def listen(settings: GatewaySettings) -> socket.socket:
    """A socket on the gateway's address. Raises SettingsError that names the setting when it cannot be had."""
    address = settings.address
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        setting = settings.env_name("address")
        raise SettingsError(
            [f"{setting}: cannot listen on {address}: {error.strerror}; set {setting} to another address"]
        ) from error
    listener.setblocking(False)
    return listener
