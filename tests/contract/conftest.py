"""The implementations over which the contracts run."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.session_verbs import Verbs

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
async def memory(_folder: Path) -> AsyncIterator[StoreUnderTest]:
    clock = FakeClock()
    store = MemoryStore(clock, LIMITS, HISTORY)
    yield StoreUnderTest(store, clock, lambda: store.engine)


@contextlib.asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[StoreUnderTest]:
    clock = FakeClock()
    store = SqliteStore(folder, clock, LIMITS, HISTORY)
    await store.open()
    yield StoreUnderTest(store, clock, lambda: store.engine)
    await store.close()


KINDS = {"memory": memory, "sqlite": sqlite}


@pytest.fixture(params=KINDS)
async def tested(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    """A fresh, empty store of each kind."""
    async with KINDS[request.param](tmp_path) as store:
        yield store


@pytest.fixture
def store(tested: StoreUnderTest) -> Verbs:
    return Verbs(tested.store)
