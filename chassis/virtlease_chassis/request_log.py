"""Outcomes of writes by their request id, so that a retry has no second effect."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT_MS = 10 * 60 * 1000


class ReusedRequestId(Exception):
    """Raised when a request id comes again with another request."""


class RequestLog(Generic[T]):
    """The outcomes of the last ten minutes; of one owner at most `most`, the youngest.

    The bound is the price of a bounded memory: a caller that makes more writes than that in ten minutes can no
    longer retry the oldest of them safely.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._owners: dict[str, OrderedDict[tuple[str, str], tuple[int, bytes, T]]] = {}

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._owners.values())

    def find(self, owner: str, method: str, request_id: str, fingerprint: bytes, now: int) -> T | None:
        """The outcome of this request, if it is known. Raises ReusedRequestId. `now` is in monotonic ms."""
        entries = self._owners.get(owner)
        entry = entries.get((method, request_id)) if entries else None
        if entry is None or now - entry[0] >= KEPT_MS:
            return None
        if entry[1] != fingerprint:
            raise ReusedRequestId
        return entry[2]

    def record(self, owner: str, method: str, request_id: str, fingerprint: bytes, now: int, outcome: T) -> None:
        """Keeps the outcome of a request."""
        entries = self._owners.setdefault(owner, OrderedDict())
        entries[method, request_id] = (now, fingerprint, outcome)
        entries.move_to_end((method, request_id))
        if len(entries) > self._most:
            entries.popitem(last=False)

    def purge(self, now: int, budget: int) -> bool:
        """Drops what is old, `budget` outcomes at most. Returns whether there may be more."""
        for owner in list(self._owners):
            entries = self._owners[owner]
            while entries and now - next(iter(entries.values()))[0] >= KEPT_MS:
                if not budget:
                    return True
                entries.popitem(last=False)
                budget -= 1
            if not entries:
                del self._owners[owner]
        return False
