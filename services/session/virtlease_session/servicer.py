"""The RPCs: translate, one call, translate."""

from collections.abc import AsyncIterator
from typing import Any, cast

from opentelemetry import trace

from virtlease.session.v1 import pipeline_pb2, watch_pb2
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease_chassis import page_token
from virtlease_chassis.errors import DomainError, InvalidArgument
from virtlease_chassis.identity import current_caller
from virtlease_session import convert
from virtlease_session.model import Ended, Found, SessionState, Updated, Verb
from virtlease_session.pipeline import Pipeline, operation_kinds
from virtlease_session.ports import SessionStore
from virtlease_session.watch import watch_sessions

_DEFAULT_PAGE = 50
_LARGEST_PAGE = 1000


class SessionServicer:
    """SessionService over a store."""

    def __init__(
        self, store: SessionStore, requests: convert.Requests, tracer: trace.Tracer, max_stream_age: float
    ) -> None:
        """`max_stream_age` in seconds is when the client of a pipeline is asked to open another one."""
        self._store = store
        self._requests = requests
        self._tracer = tracer
        self._max_stream_age = max_stream_age
        self._kinds = operation_kinds(requests)

    async def create_session(self, request: calls.CreateSessionRequest) -> calls.CreateSessionResponse:
        state: SessionState = await self._execute(self._requests.create(request, current_caller.get()))
        response = calls.CreateSessionResponse()
        convert.fill_create(response, state)
        convert.fill_time(response.server_time, state.now)
        return response

    async def get_or_create_session(self, request: calls.GetOrCreateSessionRequest) -> calls.GetOrCreateSessionResponse:
        found: Found = await self._execute(self._requests.get_or_create(request, current_caller.get()))
        response = calls.GetOrCreateSessionResponse()
        convert.fill_get_or_create(response, found)
        convert.fill_time(response.server_time, found.state.now)
        return response

    async def get_session(self, request: calls.GetSessionRequest) -> calls.GetSessionResponse:
        state: SessionState = await self._execute(self._requests.get(request, current_caller.get()))
        response = calls.GetSessionResponse()
        convert.fill_create(response, state)
        convert.fill_time(response.server_time, state.now)
        return response

    async def update_session(self, request: calls.UpdateSessionRequest) -> calls.UpdateSessionResponse:
        updated: Updated = await self._execute(self._requests.update(request, current_caller.get()))
        response = calls.UpdateSessionResponse()
        convert.fill_update(response, updated)
        convert.fill_time(response.server_time, updated.now)
        return response

    async def refresh_session(self, request: calls.RefreshSessionRequest) -> calls.RefreshSessionResponse:
        state: SessionState = await self._execute(self._requests.refresh(request, current_caller.get()))
        response = calls.RefreshSessionResponse()
        convert.fill_refresh(response, state)
        convert.fill_time(response.server_time, state.now)
        return response

    async def end_session(self, request: calls.EndSessionRequest) -> calls.EndSessionResponse:
        ended: Ended = await self._execute(self._requests.end(request, current_caller.get()))
        response = calls.EndSessionResponse()
        convert.fill_end(response, ended)
        return response

    async def list_sessions(self, request: calls.ListSessionsRequest) -> calls.ListSessionsResponse:
        if not 0 <= request.page_size <= _LARGEST_PAGE:
            raise InvalidArgument("page_size", f"between 0 and {_LARGEST_PAGE}")
        labels = dict(request.labels)
        after = page_token.decode(request.page_token, labels)
        owner = current_caller.get().principal.name
        page = await self._store.list(owner, labels, request.page_size or _DEFAULT_PAGE, after)
        response = calls.ListSessionsResponse(next_page_token=page_token.encode(page.after, labels))
        for state in page.sessions:
            convert.fill_session(response.sessions.add(), state)
        convert.fill_time(response.server_time, page.now)
        return response

    def watch_sessions(self, request: watch_pb2.WatchSessionsRequest) -> AsyncIterator[watch_pb2.WatchSessionsResponse]:
        return watch_sessions(self._store, request, current_caller.get().principal.name)

    def pipeline(
        self, incoming: AsyncIterator[pipeline_pb2.PipelineRequest]
    ) -> AsyncIterator[pipeline_pb2.PipelineResponse]:
        return Pipeline(self._store, self._kinds, self._tracer, self._max_stream_age).run(incoming)

    async def _execute(self, verb: Verb) -> Any:
        (answer,) = await self._store.execute((verb,))
        if isinstance(answer, DomainError):
            raise answer
        return cast("Any", answer)
