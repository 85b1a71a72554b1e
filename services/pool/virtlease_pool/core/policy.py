"""How a pool behaves, and what it counts."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """Times are in seconds."""

    max_size: int = 8
    """Connections at most, those included that are being opened, checked or closed."""

    idle_ttl: float = 300
    """A connection that nobody used for so long is closed."""

    max_usage: int = 100
    """A connection is closed after so many loans."""

    check_after: float = 30
    """A connection that was idle for longer is checked before it is lent."""

    max_waiting: int = 1000
    """More callers than this are not kept waiting."""


@dataclass(slots=True)
class Stats:
    """What a pool holds now, and what it has done since it began. idle + leased + reserved + closing <= max_size."""

    idle: int = 0
    leased: int = 0
    reserved: int = 0
    closing: int = 0
    waiting: int = 0
    oldest_wait: float = 0
    acquired: int = 0
    timeouts: int = 0
    opened: int = 0
    connect_failures: int = 0
    closed: dict[str, int] = field(default_factory=dict)
