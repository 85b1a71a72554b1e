"""The RPCs: translate, one call, translate."""

from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease_chassis import page_token
from virtlease_chassis.errors import InvalidArgument, PermissionDenied
from virtlease_chassis.identity import Caller, current_caller
from virtlease_chassis.wire import duration, timestamp
from virtlease_session import convert
from virtlease_session.limits import Limits
from virtlease_session.ports import SessionStore

_DEFAULT_PAGE = 50
_LARGEST_PAGE = 1000


class SessionServicer:
    """SessionService over a store. `idle_ttl` in ms is what a session gets whose caller asks for none."""

    def __init__(self, store: SessionStore, limits: Limits, idle_ttl: int) -> None:
        self._store = store
        self._limits = limits
        self._idle_ttl = idle_ttl

    async def create_session(self, request: calls.CreateSessionRequest) -> calls.CreateSessionResponse:
        caller = current_caller.get()
        _check_may_name(caller, request.session_id)
        new = convert.to_new_session(request, self._limits, self._idle_ttl)
        key = convert.to_request_key("CreateSession", request)
        state = await self._store.create(caller.principal.name, new, key)
        return calls.CreateSessionResponse(session=convert.to_message(state), server_time=timestamp(state.now))

    async def get_or_create_session(self, request: calls.GetOrCreateSessionRequest) -> calls.GetOrCreateSessionResponse:
        caller = current_caller.get()
        new = convert.to_new_session(request, self._limits, self._idle_ttl)
        key = convert.to_request_key("GetOrCreateSession", request)
        state, created = await self._store.get_or_create(caller.principal.name, new, key)
        return calls.GetOrCreateSessionResponse(
            session=convert.to_message(state), created=created, server_time=timestamp(state.now)
        )

    async def get_session(self, request: calls.GetSessionRequest) -> calls.GetSessionResponse:
        keys = () if request.omit_values else request.keys or None
        state = await self._store.get(
            current_caller.get().principal.name, request.session_id, keys=keys, touch=not request.peek
        )
        return calls.GetSessionResponse(session=convert.to_message(state), server_time=timestamp(state.now))

    async def update_session(self, request: calls.UpdateSessionRequest) -> calls.UpdateSessionResponse:
        caller = current_caller.get()
        if request.system_keys and not caller.trusted:
            raise PermissionDenied("system_keys needs the scope act_as", metadata={"scope": "act_as"})
        mutations = convert.to_mutations(request.mutations, self._limits, system=request.system_keys)
        updated = await self._store.update(
            caller.principal.name,
            request.session_id,
            mutations,
            convert.to_expected(request),
            convert.to_request_key("UpdateSession", request),
        )
        return calls.UpdateSessionResponse(
            etag=updated.etag,
            incremented=updated.incremented,
            expire_time=timestamp(updated.expires_at),
            server_time=timestamp(updated.now),
        )

    async def refresh_session(self, request: calls.RefreshSessionRequest) -> calls.RefreshSessionResponse:
        idle_ttl = None
        if request.HasField("idle_ttl"):
            idle_ttl = convert.lifetime(request.idle_ttl, "idle_ttl", self._limits)
        state = await self._store.refresh(
            current_caller.get().principal.name,
            request.session_id,
            idle_ttl,
            convert.to_expected(request),
            convert.to_request_key("RefreshSession", request),
        )
        return calls.RefreshSessionResponse(
            idle_ttl=duration(state.idle_ttl),
            expire_time=timestamp(state.expires_at),
            max_expire_time=timestamp(state.max_expires_at),
            server_time=timestamp(state.now),
        )

    async def end_session(self, request: calls.EndSessionRequest) -> calls.EndSessionResponse:
        ended_at = await self._store.end(
            current_caller.get().principal.name,
            request.session_id,
            convert.to_expected(request),
            convert.to_request_key("EndSession", request),
        )
        return calls.EndSessionResponse(end_time=timestamp(ended_at))

    async def list_sessions(self, request: calls.ListSessionsRequest) -> calls.ListSessionsResponse:
        if not 0 <= request.page_size <= _LARGEST_PAGE:
            raise InvalidArgument("page_size", f"between 0 and {_LARGEST_PAGE}")
        labels = dict(request.labels)
        page = await self._store.list(
            current_caller.get().principal.name,
            labels,
            request.page_size or _DEFAULT_PAGE,
            page_token.decode(request.page_token, labels),
        )
        return calls.ListSessionsResponse(
            sessions=[convert.to_message(state) for state in page.sessions],
            next_page_token=page_token.encode(page.after, labels),
            server_time=timestamp(page.now),
        )


def _check_may_name(caller: Caller, session_id: str) -> None:
    """An id of the caller's choice can be guessed: it is safe only where owners are told apart, or alone at home."""
    if session_id and not caller.authenticated and not caller.embedded:
        raise InvalidArgument("session_id", "an anonymous caller cannot choose it; leave it empty")
