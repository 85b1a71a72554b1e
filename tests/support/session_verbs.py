"""A session store by single verbs, which raise what went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from virtlease_chassis.errors import DomainError
from virtlease_session.model import (
    ANY,
    Create,
    End,
    Expected,
    Get,
    GetOrCreate,
    Mutation,
    NewSession,
    Page,
    Refresh,
    RequestKey,
    SessionState,
    Update,
    Updated,
    Verb,
)
from virtlease_session.ports import SessionStore, Watcher


class Verbs:
    """What tests call."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store

    async def one(self, verb: Verb) -> Any:
        (answer,) = await self.store.execute([verb])
        if isinstance(answer, DomainError):
            raise answer
        return answer

    async def create(self, owner: str, new: NewSession, request: RequestKey | None = None) -> SessionState:
        return await self.one(Create(owner, new, request))

    async def get_or_create(
        self, owner: str, new: NewSession, request: RequestKey | None = None
    ) -> tuple[SessionState, bool]:
        found = await self.one(GetOrCreate(owner, new, request))
        return found.state, found.created

    async def get(
        self, owner: str, session_id: str, *, keys: Sequence[str] | None = None, touch: bool = True
    ) -> SessionState:
        return await self.one(Get(owner, session_id, None if keys is None else tuple(keys), touch))

    async def update(
        self,
        owner: str,
        session_id: str,
        mutations: Sequence[Mutation],
        expected: Expected = ANY,
        request: RequestKey | None = None,
    ) -> Updated:
        return await self.one(Update(owner, session_id, list(mutations), expected, request))

    async def refresh(
        self,
        owner: str,
        session_id: str,
        idle_ttl: int | None = None,
        expected: Expected = ANY,
        request: RequestKey | None = None,
    ) -> SessionState:
        return await self.one(Refresh(owner, session_id, idle_ttl, expected, request))

    async def end(
        self, owner: str, session_id: str, expected: Expected = ANY, request: RequestKey | None = None
    ) -> int:
        return (await self.one(End(owner, session_id, expected, request))).at

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        return await self.store.list(owner, labels, limit, after)

    async def watch(self, owner: str, token: str = "") -> Watcher:
        return await self.store.watch(owner, token)
