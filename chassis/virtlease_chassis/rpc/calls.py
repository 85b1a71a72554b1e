"""The calls under way in one server, and whether new ones are taken."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from virtlease_chassis.errors import Unavailable


class ShuttingDown(Unavailable):
    """Raised instead of taking a call that there may be no time to answer."""

    reason = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("this replica is shutting down; try another", retry_after=0.1)


_draining: ContextVar[Callable[[], bool]] = ContextVar("draining", default=lambda: False)


def draining() -> bool:
    """Whether the server of the call that is being handled shuts down: a stream that could go on for ever ends then."""
    return _draining.get()()


class Calls:
    """Counts the calls that were accepted, and refuses them from some moment on."""

    def __init__(self) -> None:
        self.running = 0
        self._refusing = False
        self._last_refused = 0.0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def accept(self) -> None:
        """Counts a call, and lets it see the shutdown come. Raises ShuttingDown when no more are taken."""
        if self._refusing:
            self._last_refused = asyncio.get_running_loop().time()
            raise ShuttingDown
        self.running += 1
        self._quiet.clear()
        _draining.set(self._is_refusing)

    def finish(self) -> None:
        """Uncounts a call."""
        self.running -= 1
        if not self.running:
            self._quiet.set()

    def refuse(self) -> None:
        """Takes no more calls."""
        self._refusing = True
        self._last_refused = asyncio.get_running_loop().time()

    def _is_refusing(self) -> bool:
        return self._refusing

    async def wait_until_answered(self) -> None:
        """Returns when no accepted call is under way."""
        await self._quiet.wait()

    async def wait_until_nobody_calls(self, quiet: float, most: float) -> None:
        """Returns when no call had to be refused for `quiet` seconds, and after `most` seconds in any case."""
        loop = asyncio.get_running_loop()
        end = loop.time() + most
        while loop.time() < end and loop.time() - self._last_refused < quiet:
            await asyncio.sleep(quiet / 4)
