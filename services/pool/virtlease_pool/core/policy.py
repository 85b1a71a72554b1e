"""How a pool behaves, what state it is in, and what it counts."""

from dataclasses import dataclass, field
from enum import Enum


class Mode(Enum):
    """Whether connections are handed out."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Callers wait until the pool is resumed, or their time is up."""
    DRAINING = "draining"
    """Callers are refused, and what is given back is closed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Times are in seconds."""

    max_size: int = 8
    """Connections at most, those included that are being opened, checked or closed."""

    min_idle: int = 0
    """So many free connections are kept at hand."""

    max_opening: int = 2
    """Connections that are being opened at the same time at most: no storm on a hypervisor that has just come back."""

    max_waiting: int = 1000
    """More callers than this are not kept waiting."""

    idle_ttl: float = 300
    """A connection that nobody used for so long is closed, unless it is one of the `min_idle`."""

    max_lifetime: float = 3600
    """A connection older than this is closed when it is free, up to a tenth earlier by chance."""

    max_usage: int = 100
    """A connection is closed after so many loans."""

    check_after: float = 30
    """A connection that has not answered for longer is checked before it is lent."""

    keepalive: float = 120
    """An idle connection is checked this often, so that one that died is noticed before it is wanted."""

    connect_timeout: float = 10
    """Callers are told that connecting failed after so long, though the attempt cannot be called back."""

    check_timeout: float = 5
    """A connection that takes longer than this to answer is closed."""

    retry_first: float = 0.5
    """How long nothing is opened after an attempt to connect failed, up to half of it less by chance."""

    retry_last: float = 30
    """What that doubles up to, while connecting goes on failing."""

    leak_after: float = 600
    """A loan that is out for longer is reported, once."""


@dataclass(slots=True)
class Stats:
    """What a pool holds now, and what it has done since it began.

    idle + leased + reserved + closing <= max_size, but for a moment after max_size was lowered.
    requested = at_once + waited + timeouts + refused + abandoned + waiting.
    """

    mode: Mode = Mode.ACTIVE
    idle: int = 0
    leased: int = 0
    reserved: int = 0
    """Places of connections that are being opened or checked."""
    closing: int = 0
    waiting: int = 0
    oldest_wait: float = 0
    generation: int = 0
    failing: bool = False
    """Whether callers are refused since connecting failed."""

    requested: int = 0
    at_once: int = 0
    """Callers that got an idle connection without waiting."""
    waited: int = 0
    """Callers that got a connection after waiting."""
    timeouts: int = 0
    refused: int = 0
    """Callers that were told no: the hypervisor is down, too many wait, the pool is draining."""
    abandoned: int = 0
    """Callers that went away while they waited."""
    opened: int = 0
    connect_failures: int = 0
    closed: dict[str, int] = field(default_factory=dict)

    @property
    def acquired(self) -> int:
        """Loans ever made."""
        return self.at_once + self.waited
