"""Outcomes of writes by their request id, so that a retry has no second effect."""

from collections import deque
from collections.abc import Hashable
from typing import Any
from zlib import adler32, crc32

import msgspec

KEPT_MS = 10 * 60 * 1000


class ReusedRequestId(Exception):
    """Raised when a request id comes again with another request."""


def stable_hash(body: bytes) -> int:
    """64 bits that tell one body from another, the same in every process. A forger would fool only themselves."""
    return crc32(body) << 32 | adler32(body)


class Entry(msgspec.Struct, gc=False, eq=False):
    """A request: when it first came, what its body was, and what it came to; None until it has succeeded."""

    at: int
    fingerprint: Hashable
    outcome: Any = None


class _Requests:
    """The requests of one owner, by key and in the order in which they came. The order can name a key twice."""

    __slots__ = ("entries", "order")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.order: deque[tuple[int, str]] = deque()

    def drop_oldest(self) -> None:
        at, key = self.order.popleft()
        if (entry := self.entries.get(key)) is not None and entry.at == at:
            del self.entries[key]


class RequestLog:
    """The requests of the last ten minutes; of one owner at most `most`, the youngest.

    The bound is the price of a bounded memory: a caller that makes more writes than that in ten minutes can no
    longer retry the oldest of them safely.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._owners: dict[str, _Requests] = {}

    def __len__(self) -> int:
        return sum(len(requests.entries) for requests in self._owners.values())

    def entry(self, owner: str, key: str, fingerprint: Hashable, now: int) -> Entry:
        """The entry of a request, a new one if it is new: has it an outcome, the request was carried out before.

        A new one is kept at once; see `find` and `keep` for one that is to be kept only when it succeeds. Raises
        ReusedRequestId when another request came to something under this key.

        Args:
            key: names the request among its owner's.
            fingerprint: tells its body from others.
            now: monotonic, in ms.
        """
        entry = self.find(owner, key, fingerprint, now)
        if entry.outcome is None:
            self.keep(owner, key, entry)
        return entry

    def find(self, owner: str, key: str, fingerprint: Hashable, now: int) -> Entry:
        """The same, without keeping a new one."""
        requests = self._owners.get(owner)
        entry = requests.entries.get(key) if requests else None
        if entry is not None and entry.outcome is not None and now - entry.at < KEPT_MS:
            if entry.fingerprint != fingerprint:
                raise ReusedRequestId
            return entry
        return Entry(now, fingerprint)

    def keep(self, owner: str, key: str, entry: Entry) -> None:
        """Keeps an entry. Those that are kept first are dropped first."""
        requests = self._owners.get(owner)
        if requests is None:
            requests = self._owners[owner] = _Requests()
        requests.entries[key] = entry
        requests.order.append((entry.at, key))
        if len(requests.order) > self._most:
            requests.drop_oldest()

    def purge(self, now: int, budget: int) -> bool:
        """Drops what is old, `budget` requests at most. Returns whether there may be more."""
        for owner in list(self._owners):
            requests = self._owners[owner]
            while requests.order and now - requests.order[0][0] >= KEPT_MS:
                if not budget:
                    return True
                requests.drop_oldest()
                budget -= 1
            if not requests.order:
                del self._owners[owner]
        return False
