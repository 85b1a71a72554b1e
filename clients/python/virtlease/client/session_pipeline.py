"""The session service's fast path."""

import itertools
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from virtlease.client.batch_stream import BatchStream, Metadata
from virtlease.session.v1 import pipeline_pb2
from virtlease.session.v1 import session_calls_pb2 as calls

_PATH = "/virtlease.session.v1.SessionService/Pipeline"


class SessionPipeline:
    """The calls of SessionService over one stream.

    A write without a request id gets one, so that it has its effect once even when the stream breaks under it. The
    times of `BatchStream.call` and its errors hold for all of them.
    """

    def __init__(
        self, channel: grpc.aio.Channel, *, metadata: Callable[[], Metadata] = tuple, patience: float = 5.0
    ) -> None:
        """See `BatchStream`."""
        self._stream = BatchStream(
            channel,
            _PATH,
            pipeline_pb2.PipelineRequest,
            pipeline_pb2.PipelineResponse,
            metadata=metadata,
            patience=patience,
        )
        self._prefix = secrets.token_urlsafe(12)
        self._numbers = itertools.count(1)

    def create(self, request: calls.CreateSessionRequest, **options: Any) -> Awaitable[calls.CreateSessionResponse]:
        """CreateSession."""
        return self._stream.call("create", self._named(request), **options)

    def get_or_create(
        self, request: calls.GetOrCreateSessionRequest, **options: Any
    ) -> Awaitable[calls.GetOrCreateSessionResponse]:
        """GetOrCreateSession."""
        return self._stream.call("get_or_create", self._named(request), **options)

    def get(self, request: calls.GetSessionRequest, **options: Any) -> Awaitable[calls.GetSessionResponse]:
        """GetSession."""
        return self._stream.call("get", request, **options)

    def update(self, request: calls.UpdateSessionRequest, **options: Any) -> Awaitable[calls.UpdateSessionResponse]:
        """UpdateSession."""
        return self._stream.call("update", self._named(request), **options)

    def refresh(self, request: calls.RefreshSessionRequest, **options: Any) -> Awaitable[calls.RefreshSessionResponse]:
        """RefreshSession."""
        return self._stream.call("refresh", self._named(request), **options)

    def end(self, request: calls.EndSessionRequest, **options: Any) -> Awaitable[calls.EndSessionResponse]:
        """EndSession."""
        return self._stream.call("end", self._named(request), **options)

    def server_time(self) -> float:
        """See `BatchStream.server_time`."""
        return self._stream.server_time()

    async def close(self) -> None:
        """Ends the stream."""
        await self._stream.close()

    def _named(self, request: Any) -> Any:
        if not request.request_id:
            request.request_id = f"{self._prefix}-{next(self._numbers)}"
        return request
