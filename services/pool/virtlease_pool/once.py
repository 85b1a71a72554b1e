"""Writes with a request id: a retry joins the first attempt, or gets its outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from virtlease_chassis.clock import Clock
from virtlease_chassis.request_log import RequestLog, ReusedRequestId
from virtlease_pool.errors import RequestIdReused

T = TypeVar("T")

_FORGET_SECONDS = 60.0
_SLICE = 500


class Once:
    """Runs a write once for each request id, for ten minutes of this process's life.

    The write is a task of its own, so that a caller who goes away takes nothing along: their retry finds the outcome.
    A failed write is not remembered, since it had no effect; unless `keep` says that it may have had one.
    """

    def __init__(self, clock: Clock, keep: Callable[[Exception], bool]) -> None:
        self._clock = clock
        self._keep = keep
        self._log = RequestLog()

    async def run(
        self, owner: str, method: str, request_id: str, fingerprint: bytes, write: Callable[[], Awaitable[T]]
    ) -> T:
        """Runs the write, or returns what it came to before. Raises RequestIdReused."""
        try:
            entry = self._log.entry(owner, f"{method} {request_id}", fingerprint, self._clock.monotonic())
        except ReusedRequestId:
            raise RequestIdReused from None
        task: asyncio.Task[T] | None = entry.outcome
        if task is None or self._may_run_again(task):
            task = entry.outcome = asyncio.ensure_future(_task(write))
            task.add_done_callback(_retrieve)
        result: T = await asyncio.shield(task)
        return result

    async def forget(self, interval: float = _FORGET_SECONDS) -> None:
        """Forgets what is old, every `interval` seconds and in small slices, until it is cancelled."""
        while True:
            await asyncio.sleep(interval)
            while self._log.purge(self._clock.monotonic(), _SLICE):
                await asyncio.sleep(0)

    def __len__(self) -> int:
        """How many requests are remembered."""
        return len(self._log)

    def _may_run_again(self, task: "asyncio.Task[Any]") -> bool:
        if not task.done():
            return False
        if task.cancelled():
            return True
        error = task.exception()
        return isinstance(error, Exception) and not self._keep(error)


async def _task(write: Callable[[], Awaitable[T]]) -> T:
    return await write()


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Nobody may be left to be told of an error, and that is no fault."""
    if not task.cancelled():
        task.exception()
