"""Binds a service's descriptor to the object that serves it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from virtlease_chassis.errors import Unimplemented
from virtlease_chassis.names import snake_case
from virtlease_chassis.rpc.health import Health
from virtlease_chassis.rpc.malformed import Malformed, reader, whole


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service and what serves it.

    `servicer` has a method for each RPC that is built, named as the RPC in snake_case. It takes the request (or an
    async iterator of requests) and returns the response (or is an async generator of responses); who is calling is in
    `current_caller`. An RPC without a method answers UNIMPLEMENTED. `scopes` names the scope that each RPC needs;
    empty for one that checks what it is asked for by itself. `health` says whether it can do its work.
    """

    descriptor: ServiceDescriptor
    servicer: object
    scopes: Mapping[str, str]
    health: Health | None = None

    @property
    def name(self) -> str:
        """The full name."""
        return self.descriptor.full_name

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the handlers of all RPCs."""
        handlers = {method.name: self._handler(method) for method in self.descriptor.methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(self.name, handlers),))
        server.add_registered_method_handlers(self.name, handlers)

    def _handler(self, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        serve = getattr(self.servicer, snake_case(method.name), None)
        serializers: dict[str, Any] = {
            "request_deserializer": reader(GetMessageClass(method.input_type)),
            "response_serializer": GetMessageClass(method.output_type).SerializeToString,
        }
        if method.server_streaming:
            stream = _streaming(serve, method) if serve else _no_stream(method)
            if method.client_streaming:
                return grpc.stream_stream_rpc_method_handler(stream, **serializers)
            return grpc.unary_stream_rpc_method_handler(stream, **serializers)
        assert not method.client_streaming, f"{method.full_name}: client streaming alone is not served here"
        return grpc.unary_unary_rpc_method_handler(_answering(serve) if serve else _no_answer(method), **serializers)


def _answering(serve: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    def answer(request: Any, _context: Any) -> Awaitable[Any]:
        if type(request) is Malformed:
            raise request.error()
        return serve(request)

    return answer


def _streaming(
    serve: Callable[[Any], AsyncIterator[Any]], method: MethodDescriptor
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    if method.client_streaming:
        return lambda incoming, _context: serve(whole(incoming))
    return lambda request, _context: _refusing(request) if type(request) is Malformed else serve(request)


async def _refusing(request: Malformed) -> AsyncIterator[Any]:
    raise request.error()
    yield  # type: ignore[unreachable]  # makes it a generator


def _no_answer(method: MethodDescriptor) -> Callable[[Any, Any], Awaitable[Any]]:
    async def refuse(_request: Any, _context: Any) -> Any:
        raise Unimplemented(f"{method.name} is not built yet")

    return refuse


def _no_stream(method: MethodDescriptor) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def refuse(_request: Any, _context: Any) -> AsyncIterator[Any]:
        raise Unimplemented(f"{method.name} is not built yet")
        yield  # type: ignore[unreachable]  # makes it a generator

    return refuse
