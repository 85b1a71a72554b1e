"""The implementations of the session store, and the hands by which a test moves their time."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from virtlease_chassis.clock import FakeClock
from virtlease_session.engine import Engine
from virtlease_session.limits import Limits
from virtlease_session.ports import SessionStore
from virtlease_session.store.memory import MemoryStore
from virtlease_session.store.sqlite import SqliteStore

HISTORY = 100
LIMITS = Limits(sessions_per_owner=50)


@dataclass
class StoreUnderTest:
    """A store, and the hands by which a test moves its time and its sweeps."""

    store: SessionStore
    clock: FakeClock
    engine: Callable[[], Engine]
    watch_history: int = HISTORY

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def sweep(self) -> None:
        while self.engine().sweep(100):
            pass

    def purge(self) -> None:
        while self.engine().purge(100):
            pass


@contextlib.asynccontextmanager
async def memory(_folder: Path, limits: Limits = LIMITS) -> AsyncIterator[StoreUnderTest]:
    clock = FakeClock()
    store = MemoryStore(clock, limits, HISTORY)
    yield StoreUnderTest(store, clock, lambda: store.engine)


@contextlib.asynccontextmanager
async def sqlite(folder: Path, limits: Limits = LIMITS) -> AsyncIterator[StoreUnderTest]:
    clock = FakeClock()
    store = SqliteStore(folder, clock, limits, HISTORY)
    await store.open()
    yield StoreUnderTest(store, clock, lambda: store.engine)
    await store.close()


# Each takes a folder of its own, and limits when a test wants others
KINDS: dict[str, Callable[..., AbstractAsyncContextManager[StoreUnderTest]]] = {"memory": memory, "sqlite": sqlite}
