"""A bag for very many things that costs the garbage collector nothing."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_CHUNK = 512


class Pile(Generic[T]):
    """Things in no particular order. They must be nothing to the collector themselves, as strings and records are.

    A full collection visits every element of every list: a million records in lists hold everything up for 20 ms.
    Tuples it leaves alone from the second time on, when they hold nothing that it cares for. So this is a short list,
    and tuples of what it was before it grew too long.
    """

    __slots__ = ("_chunks", "_open")

    def __init__(self) -> None:
        self._open: list[T] = []
        self._chunks: list[tuple[T, ...]] = []

    def __len__(self) -> int:
        return len(self._open) + len(self._chunks) * _CHUNK

    def add(self, item: T) -> None:
        self._open.append(item)
        if len(self._open) == _CHUNK:
            self._chunks.append(tuple(self._open))
            self._open.clear()

    def take(self) -> T:
        """Removes one, and returns it. There has to be one."""
        if not self._open:
            self._open.extend(self._chunks.pop())
        return self._open.pop()

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Removes all others."""
        chunks, last = self._chunks, self._open
        self._chunks, self._open = [], []
        for chunk in (*chunks, last):
            for item in chunk:
                if wanted(item):
                    self.add(item)
