"""One class a pool: how it is opened, borrowed from, given back to and closed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiopg.pool
import asyncpg
import psycopg
import psycopg_pool
from asyncio_connection_pool import ConnectionPool as AsyncioConnectionPool
from asyncio_connection_pool import ConnectionStrategy
from connpool import AsyncCallableFactory, PoolConfig
from connpool import AsyncConnectionPool as Connpool
from generic_connection_pool.asyncio import BaseConnectionManager
from generic_connection_pool.asyncio import ConnectionPool as GenericConnectionPool
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.concurrency import greenlet_spawn

from virtlease_pool.core import Policy, Pool

Dial = Callable[[], Awaitable[None]]
"""What opening a connection takes."""


@dataclass(frozen=True)
class Subject:
    """A pool under test. `borrow` raises TimeoutError, or what the pool has for it, after the seconds it is given."""

    borrow: Callable[[float], Awaitable[Any]]
    give_back: Callable[[Any], Awaitable[None] | None]

    async def returned(self, loan: Any) -> None:
        done = self.give_back(loan)
        if done is not None:
            await done


@dataclass(frozen=True)
class Peer:
    """A pool by name; `remark` says what the figure leaves out."""

    name: str
    open: Callable[[int, Dial], contextlib.AbstractAsyncContextManager[Subject]]
    remark: str = ""


class Nothing:
    """A connection that does nothing."""

    def close(self) -> None: ...

    def rollback(self) -> None: ...


class _Connector:
    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    async def open(self) -> Nothing:
        await self._dial()
        return Nothing()

    def fault(self, _connection: Nothing) -> str:
        return ""

    async def check(self, _connection: Nothing) -> bool:
        return True

    async def close(self, _connection: Nothing) -> None: ...


@contextlib.asynccontextmanager
async def ours(size: int, dial: Dial) -> AsyncIterator[Subject]:
    pool = Pool("bench", _Connector(dial), Policy(max_size=size, max_usage=10**12, retry_first=0.001))
    yield Subject(pool.acquire, lambda loan: loan.give_back())
    await pool.close()


@contextlib.asynccontextmanager
async def asyncio_connection_pool(size: int, dial: Dial) -> AsyncIterator[Subject]:
    class Strategy(ConnectionStrategy[Nothing]):
        async def make_connection(self) -> Nothing:
            await dial()
            return Nothing()

        def connection_is_closed(self, _connection: Nothing) -> bool:
            return False

        async def close_connection(self, _connection: Nothing) -> None: ...

    pool = AsyncioConnectionPool(strategy=Strategy(), max_size=size)

    async def borrow(seconds: float) -> Any:
        manager = pool.get_connection()
        if seconds >= _PATIENT:
            await manager.__aenter__()
        else:
            await asyncio.wait_for(manager.__aenter__(), seconds)
        return manager

    yield Subject(borrow, lambda manager: manager.__aexit__(None, None, None))


@contextlib.asynccontextmanager
async def psycopg_pool_(size: int, dial: Dial) -> AsyncIterator[Subject]:
    class Wire:
        transaction_status = psycopg.pq.TransactionStatus.IDLE

    class Fake:
        def __init__(self) -> None:
            self.pgconn = Wire()
            self.closed = False
            self._pool: Any = None
            self._expire_at = 0.0

        @classmethod
        async def connect(cls, *_: Any, **__: Any) -> "Fake":
            await dial()
            return cls()

        async def close(self) -> None:
            self.closed = True

    connection_class: Any = Fake
    pool = psycopg_pool.AsyncConnectionPool(
        "", connection_class=connection_class, min_size=size, max_size=size, open=False, timeout=_PATIENT
    )
    await pool.open()
    await pool.wait()
    yield Subject(lambda seconds: pool.getconn(seconds), pool.putconn)
    await pool.close()


@contextlib.asynccontextmanager
async def asyncpg_(size: int, dial: Dial) -> AsyncIterator[Subject]:
    class Protocol:
        queries_count = 0

        def _is_cancelling(self) -> bool:
            return False

    class Fake(asyncpg.connection.Connection):  # type: ignore[misc]
        __slots__ = ()

        def __init__(self) -> None:
            self._protocol = Protocol()
            self._proxy = None
            self._pool_release_ctr = 0
            self._aborted = False
            self._listeners: dict[Any, Any] = {}
            self._log_listeners: set[Any] = set()
            self._query_loggers: set[Any] = set()

        def is_closed(self) -> bool:
            return False

        async def reset(self, *, timeout: float | None = None) -> None: ...

        async def close(self, *, timeout: float | None = None) -> None: ...

        def terminate(self) -> None: ...

        def _on_release(self, stacklevel: int = 1) -> None: ...

        def _set_proxy(self, proxy: Any) -> None:
            self._proxy = proxy

        def __del__(self) -> None: ...

    async def connect(*_: Any, **__: Any) -> Fake:
        await dial()
        return Fake()

    pool = await asyncpg.create_pool(
        connect=connect, connection_class=Fake, min_size=size, max_size=size, max_queries=10**12
    )

    async def borrow(seconds: float) -> Any:
        return await (pool.acquire() if seconds >= _PATIENT else pool.acquire(timeout=seconds))

    yield Subject(borrow, pool.release)
    pool.terminate()


@contextlib.asynccontextmanager
async def aiopg_(size: int, dial: Dial) -> AsyncIterator[Subject]:
    class Raw:
        def get_transaction_status(self) -> int:
            return 0

    class Fake:
        closed = False
        _conn = Raw()
        raw = Raw()
        last_usage = 0.0

        def close(self) -> Any:
            return asyncio.sleep(0)

        def free_cursor(self) -> None: ...

    async def connect(*_: Any, **__: Any) -> Fake:
        await dial()
        return Fake()

    module: Any = aiopg.pool
    former, module.connect = module.connect, connect
    try:
        pool = await aiopg.create_pool("", minsize=size, maxsize=size)

        async def borrow(seconds: float) -> Any:
            return await (pool.acquire() if seconds >= _PATIENT else asyncio.wait_for(pool.acquire(), seconds))

        yield Subject(borrow, pool.release)
        pool.terminate()
    finally:
        module.connect = former


@contextlib.asynccontextmanager
async def generic_connection_pool(size: int, dial: Dial) -> AsyncIterator[Subject]:
    class Manager(BaseConnectionManager[str, Nothing]):
        async def create(self, endpoint: str, timeout: float | None = None) -> Nothing:
            await dial()
            return Nothing()

        async def dispose(self, endpoint: str, conn: Nothing, timeout: float | None = None) -> None: ...

    pool = GenericConnectionPool(
        Manager(), min_idle=size, max_size=size, total_max_size=size, idle_timeout=1e9, max_lifetime=1e9
    )
    yield Subject(lambda seconds: pool.acquire("hv", timeout=seconds), lambda conn: pool.release(conn, "hv"))


@contextlib.asynccontextmanager
async def connpool_(size: int, dial: Dial) -> AsyncIterator[Subject]:
    async def make() -> Nothing:
        await dial()
        return Nothing()

    pool = Connpool(AsyncCallableFactory(make), PoolConfig(max_size=size))

    async def borrow(seconds: float) -> Any:
        return await pool.acquire(timeout=seconds)

    yield Subject(borrow, pool.release)
    await pool.close()


@contextlib.asynccontextmanager
async def sqlalchemy_(size: int, _dial: Dial) -> AsyncIterator[Subject]:
    pool = AsyncAdaptedQueuePool(Nothing, pool_size=size, max_overflow=0, timeout=_PATIENT)
    yield Subject(lambda _seconds: greenlet_spawn(pool.connect), lambda connection: greenlet_spawn(connection.close))


_PATIENT = 30.0

PEERS = (
    Peer("virtlease", ours),
    Peer("asyncio-connection-pool", asyncio_connection_pool),
    Peer("psycopg_pool", psycopg_pool_, "rolls back, counts"),
    Peer("connpool", connpool_),
    Peer("asyncpg", asyncpg_, "resets"),
    Peer("aiopg", aiopg_),
    Peer("generic-connection-pool", generic_connection_pool, "keyed"),
    Peer("SQLAlchemy", sqlalchemy_, "through greenlets; opens at once"),
)
