"""How long the caller of the RPC that is being handled still waits."""

import asyncio
from contextvars import ContextVar

call_deadline: ContextVar[float | None] = ContextVar("call_deadline", default=None)
"""The moment on the loop's clock at which the caller gives up; None when they wait for ever."""


def time_left(most: float) -> float:
    """Seconds until the caller gives up, and `most` when that is later or never."""
    deadline = call_deadline.get()
    if deadline is None:
        return most
    return max(0.0, min(most, deadline - asyncio.get_running_loop().time()))
