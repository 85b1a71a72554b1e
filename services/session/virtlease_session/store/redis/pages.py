"""Lists: an owner's ids lie sorted in each shard, and pages go through the shards."""

from collections.abc import Callable, Mapping, Sequence

from virtlease_session.model import Page, SessionState
from virtlease_session.session_id import SHARDS, shard_of
from virtlease_session.store.redis.keys import Keys
from virtlease_session.store.redis.link import Reply
from virtlease_session.store.redis.replies import state_of
from virtlease_session.store.redis.router import Router

HEADER = ("_d", "_v", "_i", "_t", "_m", "_c", "_u", "_l")
"""The fields of a session that are not values."""


class Pages:
    """Reads pages in a few round trips, however many shards the sessions are in."""

    def __init__(self, router: Router, keys: Keys, clock: Callable[[], str]) -> None:
        """`clock` says what time it is in ms, or nothing for the server's own time."""
        self._router = router
        self._keys = keys
        self._clock = clock

    def count(self, owner: str, counted: Callable[[int | None], None]) -> None:
        """Counts an owner's sessions, the expired ones included that were not swept yet; None when that fails."""

        def add(replies: list[Reply]) -> None:
            counted(None if any(isinstance(reply, Exception) for reply in replies) else sum(replies))

        self._router.ask_for([(shard, self._card(owner, shard)) for shard in range(SHARDS)], add)

    async def page(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        """See `ports.SessionStore.list`."""
        first = shard_of(owner, after) if after else 0
        shards = range(first, SHARDS)
        time, *counts = await self._router.ask(
            [(first, ("TIME",)), *((shard, self._card(owner, shard)) for shard in shards)]
        )
        now = int(self._clock() or int(time[0]) * 1000 + int(time[1]) // 1000)
        left = [(shard, count) for shard, count in zip(shards, counts, strict=True) if count]
        found: list[SessionState] = []
        most = limit + 1
        while wave := _enough(left, most):
            lists = await self._router.ask([(shard, self._some(owner, shard, after, most)) for shard in wave])
            ids: list[tuple[int, str]] = []
            for shard, some in zip(wave, lists, strict=True):
                ids += ((shard, each) for each in some)
                if len(some) == most:  # there may be more in this shard: the others have to wait
                    after = some[-1]
                    break
                left.pop(0)
            found += (
                state
                for state in await self._states(owner, ids, now)
                if state.expires_at > now and labels.items() <= state.labels.items()
            )
            if len(found) > limit:
                return Page(tuple(found[:limit]), found[limit - 1].session_id, now)
        return Page(tuple(found), "", now)

    def _card(self, owner: str, shard: int) -> tuple[str, ...]:
        return "ZCARD", self._keys.index(shard, owner)

    def _some(self, owner: str, shard: int, after: str, most: int) -> tuple[str | int, ...]:
        start = f"({after}" if after and shard_of(owner, after) == shard else "-"
        return "ZRANGEBYLEX", self._keys.index(shard, owner), start, "+", "LIMIT", 0, most

    async def _states(self, owner: str, ids: Sequence[tuple[int, str]], now: int) -> list[SessionState]:
        """The sessions of those ids that are there."""
        rows = await self._router.ask(
            [(shard, ("HMGET", self._keys.session(shard, owner, each), *HEADER)) for shard, each in ids]
        )
        return [
            state_of(session_id, dict(zip(HEADER, row, strict=True)), now, ())
            for (_, session_id), row in zip(ids, rows, strict=True)
            if row[0] is not None
        ]


def _enough(left: Sequence[tuple[int, int]], most: int) -> list[int]:
    """The first shards that together have as many ids, or all of them; `left` has each shard and its count."""
    wave: list[int] = []
    sessions = 0
    for shard, count in left:
        if sessions >= most:
            break
        wave.append(shard)
        sessions += count
    return wave
