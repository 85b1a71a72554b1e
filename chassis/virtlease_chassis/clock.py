"""Time as an argument: whatever waits, expires or measures is given a clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks in whole milliseconds. Deadlines are kept on the monotonic one, so that setting the time of day
    neither expires nor prolongs anything; the wall clock serves only to tell people and other machines when."""

    def monotonic(self) -> int:
        """Milliseconds since some fixed moment; never goes back."""
        ...

    def wall(self) -> int:
        """Milliseconds since 1970-01-01 UTC; can jump."""
        ...


class SystemClock:
    """The clocks of the machine."""

    def monotonic(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def wall(self) -> int:
        return time.time_ns() // 1_000_000


class FakeClock:
    """Clocks that stand still until they are moved."""

    def __init__(self, wall: int = 1_700_000_000_000) -> None:
        self._monotonic = 1_000_000
        self._wall = wall

    def monotonic(self) -> int:
        return self._monotonic

    def wall(self) -> int:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Lets time pass on both clocks."""
        self._monotonic += round(seconds * 1000)
        self._wall += round(seconds * 1000)

    def jump(self, seconds: float) -> None:
        """Sets the time of day, as an administrator or NTP does. No time passes."""
        self._wall += round(seconds * 1000)
