"""The circuit breaker: after a failure to connect, one attempt at a time, at growing and jittered distances."""

import random
from collections.abc import Callable


class Breaker:
    """Closed while connecting works; open from a failure until an attempt succeeds. Times are in seconds."""

    __slots__ = ("_failures", "_first", "_last", "_uniform", "error")

    def __init__(self, first: float, last: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._first = first
        self._last = last
        self._uniform = uniform
        self._failures = 0
        self.error: Exception | None = None
        """Why it is open; None while it is closed."""

    def failed(self, error: Exception) -> float:
        """Opens it, or leaves it open. Returns after how long to try again."""
        self.error = error.with_traceback(None)  # it would grow with every caller that is told
        self._failures += 1
        # Jitter, so that many services do not come back to a hypervisor in the same moment.
        return min(self._last, self._first * 2.0 ** min(self._failures - 1, 30)) * self._uniform(0.5, 1.0)

    def worked(self) -> None:
        """Closes it."""
        self._failures = 0
        self.error = None
