"""Calls to the services."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from virtlease.client import CallFailed
from virtlease_chassis.identity import Principal
from virtlease_gateway.users import Introduction


class Backend:
    """Calls one RPC, with a deadline, in the name of a user, as a span of the trace."""

    def __init__(
        self,
        method: MethodDescriptor,
        channel: grpc.aio.Channel,
        introduction: Introduction,
        tracer: trace.Tracer,
        timeout: float,
    ) -> None:
        """`timeout` in seconds holds for each call."""
        self._name = f"{method.containing_service.full_name}/{method.name}"
        self._introduction = introduction
        self._tracer = tracer
        self._timeout = timeout
        open_call = channel.unary_stream if method.server_streaming else channel.unary_unary
        self._call: Callable[..., Any] = open_call(
            f"/{self._name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )

    async def answer(self, request: Message, user: Principal) -> Message:
        """The response. Raises CallFailed."""
        with self._span():
            try:
                response: Message = await self._call(
                    request, metadata=self._introduction.metadata(user), timeout=self._timeout
                )
            except grpc.aio.AioRpcError as error:
                raise CallFailed.from_rpc_error(error) from error
            return response

    async def stream(self, request: Message, user: Principal, *, endless: bool = False) -> AsyncIterator[Message]:
        """The responses of a streaming RPC; of one without an end there is no deadline. Raises CallFailed."""
        timeout = None if endless else self._timeout
        with self._span():
            try:
                async for response in self._call(request, metadata=self._introduction.metadata(user), timeout=timeout):
                    yield response
            except grpc.aio.AioRpcError as error:
                raise CallFailed.from_rpc_error(error) from error

    def _span(self) -> AbstractContextManager[trace.Span]:
        attributes = {"rpc.system.name": "grpc", "rpc.method": self._name}
        return self._tracer.start_as_current_span(self._name, kind=SpanKind.CLIENT, attributes=attributes)


class Backends:
    """Makes backends for the services that are offered. `channels` are by target, `timeout` is in seconds."""

    def __init__(
        self, channels: Mapping[str, grpc.aio.Channel], introduction: Introduction, tracer: trace.Tracer, timeout: float
    ) -> None:
        self._channels = channels
        self._introduction = introduction
        self._tracer = tracer
        self._timeout = timeout

    def of(self, method: MethodDescriptor, target: str) -> Backend:
        """The backend of one RPC."""
        return Backend(method, self._channels[target], self._introduction, self._tracer, self._timeout)
