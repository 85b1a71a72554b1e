"""FastMCP's own sessions on Redis: the peer that is measured, and the control that loses updates."""

import contextlib
from collections.abc import AsyncIterator

from fastmcp import FastMCP
from fastmcp.server.sessions import Session
from key_value.aio.stores.redis import RedisStore


@contextlib.asynccontextmanager
async def fastmcp_session(redis_port: int, session_id: str = "session") -> AsyncIterator[Session]:
    """A new session of FastMCP, as its tools are given one, whose server keeps its state in Redis."""
    store = RedisStore(url=f"redis://127.0.0.1:{redis_port}")
    async with store:
        session = Session(
            store=FastMCP("bench", session_state_store=store)._state_store, principal="alice", session_id=session_id
        )
        await session._create()
        yield session
