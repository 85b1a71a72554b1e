"""The store that the settings ask for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from virtlease_chassis.clock import Clock
from virtlease_session.ports import SessionStore
from virtlease_session.settings import SessionSettings
from virtlease_session.store.memory import MemoryStore
from virtlease_session.store.redis import RedisStore
from virtlease_session.store.sqlite import SqliteStore


@contextlib.asynccontextmanager
async def open_store(
    settings: SessionSettings, clock: Clock, on_health: Callable[[bool], None]
) -> AsyncIterator[SessionStore]:
    """An open store that is swept and purged. `on_health` is told when it cannot be used, and when it can again."""
    store: MemoryStore | SqliteStore | RedisStore
    limits, history = settings.limits, settings.watch_history
    async with contextlib.AsyncExitStack() as stack:
        if (target := settings.redis) is not None:
            store = RedisStore(target, settings.redis_prefix, settings.redis_timeout, limits, history, on_health)
            await store.open()
            stack.push_async_callback(store.close)
        elif settings.data_dir is not None:
            store = SqliteStore(settings.data_dir, clock, limits, history, on_health)
            await store.open()
            stack.push_async_callback(store.close)
        else:
            store = MemoryStore(clock, limits, history)
        maintenance = asyncio.create_task(store.maintain(settings.cleanup_interval))
        stack.callback(maintenance.cancel)
        yield store
