"""When leases end by themselves: filed in buckets by their deadlines, ended a few at a time.

A lease that was prolonged stays where it is filed; when its bucket is due it is filed anew. So renewing costs nothing
here, and neither does a lease that was released long before.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from virtlease_pool.leases.lease import Lease

_BUCKET_SECONDS = 0.25

# A thousand leases that end at once, since their holder died, must not hold up everybody else.
_MOST_AT_ONCE = 32
_PAUSE_SECONDS = 0.01


class Expiry:
    """Belongs to the event loop on which it is first used."""

    def __init__(self, expire: Callable[[Lease], None]) -> None:
        """`expire` ends a lease whose time is up. Late by a bucket and the pace at most; never early."""
        self._expire = expire
        self._buckets: dict[int, set[Lease]] = {}
        self._due: deque[Lease] = deque()

    def file(self, lease: Lease) -> None:
        """Files a lease by its deadline."""
        number = lease.bucket = int(lease.ends_at / _BUCKET_SECONDS) + 1
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = set()
            asyncio.get_running_loop().call_at(number * _BUCKET_SECONDS, self._open, number)
        bucket.add(lease)

    def drop(self, lease: Lease) -> None:
        """Forgets a lease that has ended otherwise."""
        if (bucket := self._buckets.get(lease.bucket)) is not None:
            bucket.discard(lease)

    def _open(self, number: int) -> None:
        was_idle = not self._due
        self._due.extend(self._buckets.pop(number))
        if was_idle and self._due:
            self._work_off()

    def _work_off(self) -> None:
        for _ in range(min(_MOST_AT_ONCE, len(self._due))):
            lease = self._due.popleft()
            if lease.over is not None:
                continue
            if lease.in_use:
                lease.touch()
            if lease.seconds_left > 0:
                self.file(lease)
            else:
                self._expire(lease)
        if self._due:
            asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._work_off)
