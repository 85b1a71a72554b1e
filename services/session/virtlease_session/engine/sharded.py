"""A map whose growth never stops the process, and whose keys have an order that does not change."""

from collections.abc import Iterator
from typing import Generic, TypeVar
from zlib import crc32

V = TypeVar("V")

SHARDS = 256
_SPLIT_AT = 4096


class ShardedMap(Generic[V]):
    """A dict of str that becomes 256 dicts when it grows large.

    One dict of a million entries stops everything for 25 ms when it has to grow; a 256th of it does not.
    """

    __slots__ = ("_count", "_shards")

    def __init__(self) -> None:
        self._shards: list[dict[str, V]] = [{}]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: str) -> V | None:
        shards = self._shards
        shard = shards[0] if len(shards) == 1 else shards[crc32(key.encode()) % SHARDS]
        return shard.get(key)

    def put(self, key: str, value: V) -> None:
        shard = self._shard(key)
        if key not in shard:
            self._count += 1
        shard[key] = value
        if len(self._shards) == 1 and self._count > _SPLIT_AT:
            self._split()

    def remove(self, key: str) -> None:
        """Removes a key that is there."""
        del self._shard(key)[key]
        self._count -= 1

    def after(self, key: str) -> Iterator[V]:
        """The values whose keys follow this one (from the first for an empty one).

        The order is that of `place`. The map must not change while the iterator is in use.
        """
        position = place(key) if key else (-1, "")
        if len(self._shards) == 1:
            ordered = sorted((place(other), other) for other in self._shards[0])
            yield from (self._shards[0][other] for at, other in ordered if at > position)
            return
        for number in range(max(position[0], 0), SHARDS):
            shard = self._shards[number]
            for other in sorted(shard):
                if (number, other) > position:
                    yield shard[other]

    def _shard(self, key: str) -> dict[str, V]:
        shards = self._shards
        return shards[0] if len(shards) == 1 else shards[crc32(key.encode()) % SHARDS]

    def _split(self) -> None:
        whole = self._shards[0]
        self._shards = [{} for _ in range(SHARDS)]
        for key, value in whole.items():
            self._shard(key)[key] = value


def place(key: str) -> tuple[int, str]:
    """Where a key stands in the order, however large the map is."""
    return crc32(key.encode()) % SHARDS, key
