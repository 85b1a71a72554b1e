"""Whether a service can do its work: told by whoever knows, followed by the server that answers health checks."""

import asyncio
from collections.abc import Awaitable, Callable


class Health:
    """Good until it is told otherwise."""

    def __init__(self) -> None:
        self._serving = True
        self._changed = asyncio.Event()

    def tell(self, serving: bool) -> None:
        """Says how it is now."""
        if serving != self._serving:
            self._serving = serving
            self._changed.set()

    async def follow(self, apply: Callable[[bool], Awaitable[None]]) -> None:
        """Applies every change from now on, until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await apply(self._serving)
