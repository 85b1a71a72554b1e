"""The session service on a clock that is SPEED times as fast: what is kept for ten minutes, a soak sees come and go."""

import os
import sys
import time

from virtlease_chassis.process import run_process
from virtlease_session import app
from virtlease_session.settings import SessionSettings
from virtlease_session.store.sqlite import store as sqlite

_SPEED = int(os.environ.pop("SPEED"))


class FastClock:
    """See `Clock`."""

    def __init__(self) -> None:
        self._begun = time.monotonic_ns()
        self._wall = time.time_ns()

    def monotonic(self) -> int:
        return (self._begun + (time.monotonic_ns() - self._begun) * _SPEED) // 1_000_000

    def wall(self) -> int:
        return (self._wall + (time.monotonic_ns() - self._begun) * _SPEED) // 1_000_000


app.SystemClock = FastClock  # type: ignore[misc, assignment]
sqlite._PURGE_SECONDS /= _SPEED

if __name__ == "__main__":
    sys.exit(run_process("session", app.serve, SessionSettings))
