"""An event loop on which time passes only when there is nothing left to do, and then at once."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Timers fire in order and without waiting. A loop that waits for nothing at all is an error, not a hang."""

    def __init__(self) -> None:
        self._now = 1000.0
        self.after_step: Callable[[], None] | None = None
        """Called after every step of every task and every callback; an invariant that it finds broken fails the run."""
        self.broken: BaseException | None = None
        super().__init__(_Selector(self))

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        return super().call_soon(self._step, callback, args, context=context)

    def _step(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        callback(*args)
        if self.after_step is not None and self.broken is None:
            try:
                self.after_step()
            except BaseException as error:  # pytest's own are none of the common kind
                self.broken = error

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        self._loop.jump(timeout)
        return []


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs on a loop of its own, on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        result = runner.run(work)
        loop = runner.get_loop()
    assert isinstance(loop, VirtualTimeLoop)
    if loop.broken is not None:
        raise loop.broken
    return result


def after_every_step(check: Callable[[], None]) -> None:
    """Has the running loop check something after every step from now on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.after_step = check
