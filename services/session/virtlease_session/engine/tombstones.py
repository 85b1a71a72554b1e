"""What is remembered of sessions that are over, so that their owners learn what became of them."""

import msgspec

from virtlease_session.engine.pile import Pile
from virtlease_session.engine.sharded import ShardedMap
from virtlease_session.errors import SessionEnded, SessionExpired, SessionNotFound

KEPT_MS = 10 * 60 * 1000
_MOST = 1_000_000


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """How a session ended, and when on the monotonic clock."""

    expired: bool
    at: int


class Tombstones:
    """The dead of the last ten minutes; of a million, the youngest."""

    def __init__(self) -> None:
        self._stones: ShardedMap[Tombstone] = ShardedMap()
        self._seconds: dict[int, Pile[str]] = {}
        """The keys of the stones by the second in which they were put, which is in order. Some may be gone since."""

    def __len__(self) -> int:
        return len(self._stones)

    def put(self, owner: str, session_id: str, stone: Tombstone) -> None:
        key = _key(owner, session_id)
        self._stones.put(key, stone)
        second = self._seconds.get(stone.at // 1000)
        if second is None:
            second = self._seconds[stone.at // 1000] = Pile()
        second.add(key)
        while len(self._stones) > _MOST:
            self._drop_oldest()

    def remove(self, owner: str, session_id: str) -> None:
        """Forgets the dead of this id, if any: the id lives again."""
        key = _key(owner, session_id)
        if self._stones.get(key) is not None:
            self._stones.remove(key)

    def error(self, owner: str, session_id: str) -> SessionNotFound | SessionExpired | SessionEnded:
        """What to tell the owner of an id that is not among the living."""
        stone = self._stones.get(_key(owner, session_id))
        if stone is None:
            return SessionNotFound(session_id)
        return SessionExpired(session_id) if stone.expired else SessionEnded(session_id)

    def purge(self, now: int, budget: int) -> bool:
        """Drops those that are old, `budget` at most. Returns whether there may be more."""
        for _ in range(budget):
            oldest = next(iter(self._seconds), None)
            if oldest is None or (oldest + 1) * 1000 > now - KEPT_MS:
                return False
            self._drop_oldest()
        return bool(self._seconds)

    def _drop_oldest(self) -> None:
        second, keys = next(iter(self._seconds.items()))
        key = keys.take()
        stone = self._stones.get(key)
        if stone is not None and stone.at // 1000 == second:
            self._stones.remove(key)
        if not len(keys):
            del self._seconds[second]


def _key(owner: str, session_id: str) -> str:
    return f"{owner} {session_id}"
