"""Sends what a synchronous listener hears, in order and without keeping anybody waiting."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Sender:
    """Passes URIs on to a client. What it has not taken yet is told once, however often it changes."""

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def send(self, uri: str) -> None:
        """Tells the client soon."""
        self._waiting[uri] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    def close(self) -> None:
        """Tells nothing more."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            uri = next(iter(self._waiting))
            del self._waiting[uri]
            try:
                await self._send(uri)
            except Exception as error:  # the client is gone; its session ends by itself
                log.debug("a client was not told of %s: %s", uri, error)
