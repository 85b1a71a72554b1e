"""What a caller of a pool can be told."""

from virtlease_chassis.errors import DeadlineExceeded, ResourceExhausted, Unavailable


class AcquireTimeout(DeadlineExceeded):
    """Raised when the time was up before there was a connection; names the phase in which it was spent."""

    reason = "ACQUIRE_TIMEOUT"

    def __init__(self, pool: str, phase: str, seconds: float, *, paused: bool = False) -> None:
        what = {"wait": "waiting for a free connection", "connect": "connecting", "validate": "checking a connection"}
        why = "; the pool is paused" if paused else ""
        super().__init__(
            f"no connection to {pool} within {seconds:g} s, spent {what[phase]}{why}",
            metadata={"pool": pool, "phase": phase},
            retry_after=1,
        )


class ConnectTimeout(Unavailable):
    """Raised when an attempt to connect takes too long."""

    reason = "CONNECT_TIMEOUT"

    def __init__(self, pool: str, seconds: float) -> None:
        super().__init__(
            f"connecting to {pool} takes longer than {seconds:g} s",
            metadata={"pool": pool, "phase": "connect"},
            retry_after=1,
        )


class TooManyWaiting(ResourceExhausted):
    """Raised instead of letting the queue grow without bound."""

    reason = "TOO_MANY_WAITING"

    def __init__(self, pool: str, waiting: int) -> None:
        super().__init__(f"{waiting} callers already wait for a connection to {pool}", subject=pool, retry_after=1)


class PoolDraining(Unavailable):
    """Raised when an operator drains the pool."""

    reason = "POOL_DRAINING"

    def __init__(self, pool: str) -> None:
        super().__init__(f"connections to {pool} are not handed out while it is drained", retry_after=5)


class PoolClosed(Unavailable):
    """Raised when the pool is shutting down."""

    reason = "POOL_CLOSED"

    def __init__(self, pool: str) -> None:
        super().__init__(f"connections to {pool} are no longer handed out here", retry_after=0.1)


class NoRoom(Exception):
    """Raised by a connector that may not open another connection now: callers go on waiting, and it is asked again."""
