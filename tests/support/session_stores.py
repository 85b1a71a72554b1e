"""The implementations of the session store, and the hands by which a test moves their time."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from support.redis_server import shared_redis
from virtlease_chassis.clock import FakeClock
from virtlease_chassis.redis_url import parse
from virtlease_session.limits import Limits
from virtlease_session.ports import SessionStore
from virtlease_session.store.memory import MemoryStore
from virtlease_session.store.redis import RedisStore
from virtlease_session.store.sqlite import SqliteStore

HISTORY = 100
LIMITS = Limits(sessions_per_owner=50)


@dataclass
class StoreUnderTest:
    """A store, and the hands by which a test moves its time and its sweeps."""

    store: SessionStore
    clock: FakeClock
    sweep: Callable[[], Awaitable[None]]
    """Buries all that has expired."""
    purge: Callable[[], Awaitable[None]]
    """Forgets all that is older than ten minutes."""
    watch_history: int = HISTORY

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


def _with_engine(store: MemoryStore | SqliteStore, clock: FakeClock) -> StoreUnderTest:
    async def sweep() -> None:
        while store.engine.sweep(100):
            pass

    async def purge() -> None:
        while store.engine.purge(100):
            pass

    return StoreUnderTest(store, clock, sweep, purge)


@contextlib.asynccontextmanager
async def memory(_folder: Path, limits: Limits = LIMITS) -> AsyncIterator[StoreUnderTest]:
    clock = FakeClock()
    yield _with_engine(MemoryStore(clock, limits, HISTORY), clock)


@contextlib.asynccontextmanager
async def sqlite(folder: Path, limits: Limits = LIMITS) -> AsyncIterator[StoreUnderTest]:
    clock = FakeClock()
    store = SqliteStore(folder, clock, limits, HISTORY)
    await store.open()
    yield _with_engine(store, clock)
    await store.close()


@contextlib.asynccontextmanager
async def redis(
    _folder: Path, limits: Limits = LIMITS, prefix: str = "", clock: FakeClock | None = None
) -> AsyncIterator[StoreUnderTest]:
    """A store on the server that all tests share. Two of the same prefix and clock are two replicas."""
    clock = clock or FakeClock()
    prefix = prefix or f"test-{secrets.token_hex(6)}"
    target = parse(shared_redis().url)
    store = RedisStore(target, prefix, 5, limits, HISTORY, clock=lambda: str(clock.monotonic()))
    await store.open()

    async def sweep() -> None:
        while await store.sweeper.sweep():
            pass

    async def purge() -> None:
        """Redis forgets by itself, and the scripts do not believe what is too old."""

    yield StoreUnderTest(store, clock, sweep, purge)
    await store.close()


# Each takes a folder of its own, and limits when a test wants others
KINDS: dict[str, Callable[..., AbstractAsyncContextManager[StoreUnderTest]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "redis": redis,
}
