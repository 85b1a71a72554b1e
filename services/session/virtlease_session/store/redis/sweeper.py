"""Buries what has expired. Any number of replicas may sweep: each burial is one step in Redis, and the second finds
nothing to do.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from virtlease_chassis.errors import Unavailable
from virtlease_session.session_id import SHARDS, shard_of
from virtlease_session.store.redis.keys import Keys
from virtlease_session.store.redis.replies import was_buried
from virtlease_session.store.redis.router import Router
from virtlease_session.store.redis.scripts import Scripts
from virtlease_session.store.redis.verbs import VerbWords
from virtlease_session.tally import Tally

_SWEEP_SECONDS = 0.5
_MOST = 50
"""Sessions of one shard that are looked at before calls get their turn again: three thousand in all shards together."""

log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps all shards together."""

    def __init__(
        self, router: Router, keys: Keys, scripts: Scripts, words: VerbWords, clock: Callable[[], str], tally: Tally
    ) -> None:
        self._router = router
        self._keys = keys
        self._due = scripts.sha["due"]
        self._words = words
        self._clock = clock
        self._tally = tally

    async def run(self) -> None:
        """Sweeps until it is cancelled; while Redis is away, it waits."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS * random.uniform(0.7, 1.3))
            try:
                started = time.perf_counter()
                while await self.sweep():
                    await asyncio.sleep(0)
                self._tally.sweep_duration = (time.perf_counter() - started) * 1000
            except Unavailable:
                log.debug("nothing is swept while Redis is away")

    async def sweep(self) -> bool:
        """Looks at the oldest deadlines that have passed. Returns whether there may be more."""
        replies = await self._router.ask(
            [
                (shard, ("EVALSHA", self._due, 1, self._keys.deadlines[shard], self._clock(), _MOST))
                for shard in range(SHARDS)
            ]
        )
        sweeps = []
        for member in (member for _, _, flat in replies for member in flat[::2]):
            session_id, _, owner = member.partition(":")
            shard = shard_of(owner, session_id)
            sweeps.append((shard, self._words.sweep(shard, owner, session_id)))
        buried = sum(map(was_buried, await self._router.ask(sweeps)))
        self._tally.expired += buried
        self._tally.live = sum(count for _, count, _ in replies) - buried
        self._tally.sweep_lag = max((now - float(flat[1]) for now, _, flat in replies if flat), default=0)
        return any(len(flat) == 2 * _MOST for _, _, flat in replies)
