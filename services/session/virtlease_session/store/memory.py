"""The memory store: the engine, and nothing that outlives the process."""

import asyncio
from collections.abc import Mapping, Sequence

from virtlease_session.engine import Engine
from virtlease_session.model import Expected, Mutation, NewSession, Page, RequestKey, SessionState, Updated

# Entries looked at before other work gets its turn: about a millisecond.
_SLICE = 512
_SWEEP_SECONDS = 0.5


class MemoryStore:
    """See `ports.SessionStore`. One process only: another one would have other sessions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, owner: str, new: NewSession, request: RequestKey | None) -> SessionState:
        return self._engine.create(owner, new, request)

    async def get_or_create(self, owner: str, new: NewSession, request: RequestKey | None) -> tuple[SessionState, bool]:
        return self._engine.get_or_create(owner, new, request)

    async def get(
        self, owner: str, session_id: str, *, keys: Sequence[str] | None = None, touch: bool = True
    ) -> SessionState:
        return self._engine.get(owner, session_id, keys, touch)

    async def update(
        self,
        owner: str,
        session_id: str,
        mutations: Sequence[Mutation],
        expected: Expected,
        request: RequestKey | None,
    ) -> Updated:
        return self._engine.update(owner, session_id, mutations, expected, request)

    async def refresh(
        self, owner: str, session_id: str, idle_ttl: int | None, expected: Expected, request: RequestKey | None
    ) -> SessionState:
        return self._engine.refresh(owner, session_id, idle_ttl, expected, request)

    async def end(self, owner: str, session_id: str, expected: Expected, request: RequestKey | None) -> int:
        return self._engine.end(owner, session_id, expected, request)

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        return self._engine.list(owner, labels, limit, after)

    async def maintain(self, cleanup_interval: float) -> None:
        """Sweeps what expired, and every `cleanup_interval` seconds forgets old tombstones, until it is cancelled."""
        loop = asyncio.get_running_loop()
        cleanup = loop.time() + cleanup_interval
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            while self._engine.sweep(_SLICE):
                await asyncio.sleep(0)
            if loop.time() >= cleanup:
                cleanup = loop.time() + cleanup_interval
                while self._engine.purge(_SLICE):
                    await asyncio.sleep(0)
