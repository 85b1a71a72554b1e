"""Watching: the changes of an owner lie in a stream a shard, for as long as somebody watches and ten minutes more.

A watcher stands on an entry of each stream, and reads what follows. When the entry on which it stands is gone, others
may have gone with it, and it says so. Where to look it is told by hints; they can be lost, so from time to time it
looks everywhere.
"""

import asyncio
import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable
from typing import Any

from virtlease_chassis.errors import InvalidArgument
from virtlease_session.errors import Compacted, WatcherTooSlow
from virtlease_session.model import Event
from virtlease_session.session_id import SHARDS
from virtlease_session.store.redis.hints import ALL_SHARDS, Hints
from virtlease_session.store.redis.keys import Keys
from virtlease_session.store.redis.replies import event_of
from virtlease_session.store.redis.router import Router
from virtlease_session.store.redis.scripts import Scripts

LINGER_MS = 600_000
_RENEW_SECONDS = 120.0
_LOOK_EVERYWHERE_SECONDS = 10.0
_MOST = 256
_LARGEST_TOKEN = 16 * 1024
_PLACE = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class Streams:
    """The streams of changes in Redis."""

    def __init__(self, router: Router, keys: Keys, scripts: Scripts) -> None:
        self._router = router
        self._keys = keys
        self._watch = scripts.sha["watch"]

    async def keep(self, owner: str) -> list[str]:
        """Has the owner's changes kept for another while. Returns the newest place in each stream."""
        words = ((shard, self._keys.changes(shard, owner)) for shard in range(SHARDS))
        return await self._router.ask(
            [(shard, ("EVALSHA", self._watch, 1, stream, "", LINGER_MS)) for shard, stream in words]
        )

    async def read(self, owner: str, places: dict[int, str]) -> dict[int, list[Any] | None]:
        """The entries that follow a place in the stream of each shard.

        None for one where that place is gone: others may have gone with it.
        """
        replies = await self._router.ask(
            [
                (shard, ("XRANGE", self._keys.changes(shard, owner), place, "+", "COUNT", _MOST + 1))
                for shard, place in places.items()
            ]
        )
        return {
            shard: entries[1:] if entries and entries[0][0] == place else None
            for (shard, place), entries in zip(places.items(), replies, strict=True)
        }


class RedisWatcher:
    """See `ports.Watcher`."""

    def __init__(self, streams: Streams, hints: Hints, owner: str) -> None:
        self._streams = streams
        self._hints = hints
        self._owner = owner
        self._places: list[str] = []
        self._dirty: set[int] = set()
        self._told = asyncio.Event()
        self._renew_at = 0.0
        self._look_at = 0.0

    async def begin(self, token: str) -> None:
        """Takes its stand. Raises what `ports.SessionStore.watch` raises."""
        places = _decode(token) if token else None
        self._hints.add(self._owner, self._hint)
        try:
            newest = await self._streams.keep(self._owner)
            self._renew_at = asyncio.get_running_loop().time() + _RENEW_SECONDS
            if places is None:
                self._places = newest
                return
            for entries in (await self._streams.read(self._owner, dict(enumerate(places)))).values():
                if entries is None:
                    raise Compacted
            self._places = places
            self._hint(ALL_SHARDS)
        except BaseException:
            self.close()
            raise

    @property
    def token(self) -> str:
        return _encode(self._places)

    async def events(self, wait: float) -> list[Event]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + wait
        while True:
            now = loop.time()
            if now >= self._renew_at:
                await self._streams.keep(self._owner)
                self._renew_at = now + _RENEW_SECONDS
            if now >= self._look_at:
                self._hint(ALL_SHARDS)
                self._look_at = now + _LOOK_EVERYWHERE_SECONDS
            if self._dirty and (found := await self._read()):
                return found
            if not self._dirty and not await self._wait(ends_at):
                return []

    def close(self) -> None:
        self._hints.remove(self._owner, self._hint)

    def _hint(self, shards: Iterable[int]) -> None:
        self._dirty.update(shards)
        self._told.set()

    async def _wait(self, ends_at: float) -> bool:
        """Waits until there is somewhere to look, or until the time is up. Returns which."""
        loop = asyncio.get_running_loop()
        self._told.clear()
        try:
            async with asyncio.timeout_at(min(ends_at, self._look_at)):
                await self._told.wait()
        except TimeoutError:
            return loop.time() < ends_at
        return True

    async def _read(self) -> list[Event]:
        """What is new where something was said to be."""
        shards, self._dirty = self._dirty, set()
        try:
            read = await self._streams.read(self._owner, {shard: self._places[shard] for shard in shards})
        except BaseException:
            self._dirty |= shards
            raise
        found: list[tuple[tuple[int, int], Event]] = []
        for shard, entries in read.items():
            if entries is None:
                raise WatcherTooSlow
            if len(entries) == _MOST:
                self._dirty.add(shard)
            for place, fields in entries:
                self._places[shard] = place
                if "id" in fields:
                    found.append((_order(place), event_of(self._owner, fields)))
        found.sort(key=lambda each: each[0])  # roughly as it happened, and each session's exactly
        return [event for _, event in found]


def _order(place: str) -> tuple[int, int]:
    milliseconds, _, number = place.partition("-")
    return int(milliseconds), int(number)


def _encode(places: list[str]) -> str:
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(places).encode())).decode()


def _decode(token: str) -> list[str]:
    try:
        unpacked = zlib.decompressobj().decompress(base64.urlsafe_b64decode(token.encode()), _LARGEST_TOKEN)
        places = json.loads(unpacked)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise InvalidArgument("resume_token", "not a token of this service") from error
    if (
        not isinstance(places, list)
        or len(places) != SHARDS
        or not all(isinstance(place, str) and _PLACE.fullmatch(place) for place in places)
    ):
        raise InvalidArgument("resume_token", "not a token of this service")
    return places
