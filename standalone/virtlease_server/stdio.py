"""`virtlease mcp`: MCP on standard input and output, with everything in this process and nothing on the network."""

import asyncio

from virtlease_chassis.identity import Authenticator
from virtlease_chassis.process import Process, run_process
from virtlease_gateway.app import Targets, mcp_server
from virtlease_gateway.settings import GatewaySettings
from virtlease_pool.settings import PoolSettings
from virtlease_server.embedded import embedded_services
from virtlease_session.settings import SessionSettings


async def serve(process: Process) -> None:
    """Serves until the client closes its end, or the process is told to stop.

    Uses running services when their targets are set, in the name of whoever's token it is given; its own otherwise.
    """
    settings = process.settings[GatewaySettings]
    if {"session_target", "pool_target"} & settings.model_fields_set:
        await _serve(process, Targets.from_settings(settings, acts_for_others=False))
        return
    async with embedded_services(process, on_network=False) as services:
        await _serve(process, services.targets)


async def _serve(process: Process, targets: Targets) -> None:
    # Whoever started the process is its only user: no tokens here.
    read_only = bool(process.settings[GatewaySettings].read_only)
    async with mcp_server(process, Authenticator(None), targets, read_only=read_only) as server:
        serving = asyncio.create_task(server.fastmcp.run_stdio_async(show_banner=False))
        stopping = asyncio.create_task(process.until_told_to_stop())
        done, pending = await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if serving in done:
            serving.result()


def main() -> int:
    """Returns the exit status."""
    return run_process("mcp", serve, SessionSettings, PoolSettings, GatewaySettings, serve_metrics=False)
