"""The implementations over which the contracts run."""

from dataclasses import dataclass

import pytest

from virtlease_chassis.clock import FakeClock
from virtlease_session.engine import Engine
from virtlease_session.limits import Limits
from virtlease_session.ports import SessionStore
from virtlease_session.store.memory import MemoryStore


@dataclass
class StoreUnderTest:
    """A store, and the hands by which a test moves its time and its sweeps."""

    store: SessionStore
    clock: FakeClock
    engine: Engine

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def sweep(self) -> None:
        while self.engine.sweep(100):
            pass

    def purge(self) -> None:
        while self.engine.purge(100):
            pass


LIMITS = Limits(sessions_per_owner=50)


@pytest.fixture(params=["memory"])
def tested(request: pytest.FixtureRequest) -> StoreUnderTest:
    """A fresh, empty store of each kind."""
    clock = FakeClock()
    engine = Engine(clock, LIMITS)
    return StoreUnderTest(MemoryStore(engine), clock, engine)


@pytest.fixture
def store(tested: StoreUnderTest) -> SessionStore:
    return tested.store
