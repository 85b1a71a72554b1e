"""How many sessions each owner has, closely enough to hold a quota.

Counting means asking every shard, so a count is kept for a while, and what this process creates and ends is added to
it. No call waits for a count. So an owner can pass the quota by what several replicas create within that while, and by
what is created before the first count is there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from virtlease_chassis.errors import ResourceExhausted
from virtlease_session.limits import Limits

_KEPT_SECONDS = 5.0
_KEPT_WHEN_FULL_SECONDS = 0.2
_MOST_OWNERS = 10_000

Counted = Callable[[int | None], None]


@dataclass(slots=True)
class _Count:
    sessions: int | None = None
    at: float = 0.0
    counting: bool = False
    change: int = 0
    """By how much the number changed here since the counting began."""

    def add(self, sessions: int) -> None:
        self.change += sessions
        if self.sessions is not None:
            self.sessions += sessions

    def counted(self, sessions: int | None) -> None:
        """Takes what the shards have; None when they could not be asked."""
        self.counting = False
        if sessions is not None:
            self.sessions = sessions + self.change


class Quota:
    """Sessions by owner, roughly."""

    def __init__(self, limits: Limits, count: Callable[[str, Counted], None]) -> None:
        """`count` counts an owner's sessions, and tells."""
        self._limits = limits
        self._count = count
        self._counts: dict[str, _Count] = {}

    def reserve(self, owner: str) -> None:
        """Counts one session more. Raises ResourceExhausted when there may be no more."""
        known = self._counts.get(owner)
        if known is None:
            if len(self._counts) >= _MOST_OWNERS:
                self._counts.clear()
            known = self._counts[owner] = _Count()
        try:
            if known.sessions is not None:
                self._limits.check_quota(owner, known.sessions)
        except ResourceExhausted:
            self._renew(owner, known, _KEPT_WHEN_FULL_SECONDS)
            raise
        self._renew(owner, known, _KEPT_SECONDS)
        known.add(1)

    def give_back(self, owner: str) -> None:
        """Says that a session was ended, or that one which was counted was not created."""
        if (known := self._counts.get(owner)) is not None:
            known.add(-1)

    def _renew(self, owner: str, known: _Count, kept: float) -> None:
        now = time.monotonic()
        if not known.counting and (known.sessions is None or now - known.at > kept):
            known.counting, known.change, known.at = True, 0, now
            self._count(owner, known.counted)
