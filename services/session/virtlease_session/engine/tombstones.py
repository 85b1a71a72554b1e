"""What is remembered of sessions that are over, so that their owners learn what became of them."""

from collections import OrderedDict

import msgspec

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
        self._stones: OrderedDict[tuple[str, str], Tombstone] = OrderedDict()

    def __len__(self) -> int:
        return len(self._stones)

    def put(self, owner: str, session_id: str, stone: Tombstone) -> None:
        self._stones[owner, session_id] = stone
        self._stones.move_to_end((owner, session_id))
        if len(self._stones) > _MOST:
            self._stones.popitem(last=False)

    def remove(self, owner: str, session_id: str) -> None:
        """Forgets the dead of this id, if any: the id lives again."""
        self._stones.pop((owner, session_id), None)

    def error(self, owner: str, session_id: str) -> SessionNotFound | SessionExpired | SessionEnded:
        """What to tell the owner of an id that is not among the living."""
        stone = self._stones.get((owner, session_id))
        if stone is None:
            return SessionNotFound(session_id)
        return SessionExpired(session_id) if stone.expired else SessionEnded(session_id)

    def purge(self, now: int, budget: int) -> bool:
        """Drops those that are old, `budget` at most. Returns whether there may be more."""
        while budget and self._stones:
            key = next(iter(self._stones))
            if now - self._stones[key].at < KEPT_MS:
                return False
            del self._stones[key]
            budget -= 1
        return bool(self._stones)
