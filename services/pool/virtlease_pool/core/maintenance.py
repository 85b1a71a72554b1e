"""Sweeps all pools every second, in slices that never hold the loop for long."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from virtlease_pool.core.pool import Pool

SECONDS = 1.0
_SLICE = 16
"""Pools to look at, or connections to close, between two looks at the loop."""


async def maintain(pools: Callable[[], Iterable[Pool[Any]]]) -> None:
    """Runs until it is cancelled. `pools` is asked at the beginning of each round."""
    while True:
        await asyncio.sleep(SECONDS)
        work = 0
        for pool in list(pools()):
            work += 1 + pool.sweep()
            if work >= _SLICE:
                work = 0
                await asyncio.sleep(0)
