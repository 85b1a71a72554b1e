"""A FastMCP server over real HTTP, on a loop of the test's own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from fastmcp import FastMCP


@contextlib.asynccontextmanager
async def over_http(server: FastMCP) -> AsyncIterator[str]:
    """Serves on a free port of loopback. Yields the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(server.http_app(path="/mcp"), log_config=None, lifespan="on")
        runner = uvicorn.Server(config)
        serving = asyncio.create_task(runner._serve([listener]))  # without taking the process's signals
        while not runner.started:
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finally:
            runner.should_exit = True
            await serving
