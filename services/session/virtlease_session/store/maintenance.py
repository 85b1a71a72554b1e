"""What an engine needs done from time to time, in slices so small that calls between them do not notice."""

import asyncio
from collections.abc import Callable

from virtlease_session.engine import Engine

SLICE = 512
"""Entries looked at before other work gets its turn: about a millisecond."""

SWEEP_SECONDS = 0.5


async def maintain(engine: Callable[[], Engine], cleanup_interval: float) -> None:
    """Sweeps what expired, and every `cleanup_interval` seconds forgets old tombstones, until it is cancelled.

    `engine` returns the engine of the moment: a store may begin anew with another one.
    """
    loop = asyncio.get_running_loop()
    cleanup = loop.time() + cleanup_interval
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        started = loop.time()
        while engine().sweep(SLICE):
            await asyncio.sleep(0)
        engine().tally.sweep_duration = (loop.time() - started) * 1000
        if loop.time() >= cleanup:
            cleanup = loop.time() + cleanup_interval
            while engine().purge(SLICE):
                await asyncio.sleep(0)
