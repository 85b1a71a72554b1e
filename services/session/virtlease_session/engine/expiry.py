"""Deadlines in buckets of one second, re-filed only when a bucket falls due.

A use of a session writes its deadline and nothing else. When the bucket under which it was filed falls due, it is
either over, or filed again under its present deadline: at most once in its time to live. (ZooKeeper's ExpiryQueue
has such buckets, and moves an entry at every touch.)
"""

from collections.abc import Iterator

from virtlease_session.engine.pile import Pile
from virtlease_session.engine.record import NEVER, Record

_COMPACT_FROM = 64


class ExpiryBuckets:
    """Records by the second at which they are to be looked at."""

    def __init__(self) -> None:
        self._buckets: dict[int, Pile[Record]] = {}
        self._dead: dict[int, int] = {}
        self._swept = 0

    def file(self, record: Record) -> None:
        """Files a record under its deadline; one that was filed under another second is forgotten there."""
        second = record.deadline // 1000 + 1
        if record.bucket == second:
            return
        if record.bucket != NEVER:
            self._bury(record.bucket)
        record.bucket = second
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = Pile()
        bucket.add(record)

    def forget(self, record: Record) -> None:
        """Takes out a record that has ended."""
        if record.bucket != NEVER:
            second, record.bucket = record.bucket, NEVER
            self._bury(second)

    def due(self, now: int, budget: int) -> Iterator[Record]:
        """Yields records whose deadline has passed, and files again those that live; looks at `budget` at most.

        Each record yielded is no longer filed. The buckets may be changed between two of them.
        """
        for second in self._due_seconds(now):
            bucket = self._buckets[second]
            while bucket:
                if not budget:
                    return
                budget -= 1
                record = bucket.take()
                if record.bucket != second:
                    continue  # ended, or filed elsewhere since
                record.bucket = NEVER
                if record.deadline <= now:
                    yield record
                else:
                    self.file(record)
            del self._buckets[second]
            self._dead.pop(second, None)

    def overdue(self, now: int) -> bool:
        """Whether there is something to look at."""
        return bool(self._due_seconds(now))

    def _due_seconds(self, now: int) -> list[int]:
        # Everything before `_swept` is done: without the mark, every look would go through a day of buckets.
        this_second = now // 1000
        if this_second - self._swept < len(self._buckets):
            found = [second for second in range(self._swept + 1, this_second + 1) if second in self._buckets]
        else:
            found = sorted(second for second in self._buckets if second <= this_second)
        if not found:
            self._swept = max(self._swept, this_second)
        return found

    def _bury(self, second: int) -> None:
        """Counts an entry that no longer means anything, and clears the bucket when most entries are such."""
        dead = self._dead.get(second, 0) + 1
        bucket = self._buckets.get(second)
        if bucket is not None and dead >= _COMPACT_FROM and dead * 2 > len(bucket):
            bucket.keep(lambda record: record.bucket == second)
            dead = 0
        self._dead[second] = dead
