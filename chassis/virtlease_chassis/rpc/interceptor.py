"""What surrounds every handler: the trace, the caller, the errors and the count of calls under way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc
from google.rpc import status_pb2
from opentelemetry import context as otel
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode

from virtlease_chassis.errors import DomainError
from virtlease_chassis.identity import Authenticator, Caller, current_caller, reauthenticate
from virtlease_chassis.rpc.calls import Calls
from virtlease_chassis.rpc.deadline import call_deadline
from virtlease_chassis.rpc.peer import call_metadata, call_peer
from virtlease_chassis.status import DETAILS_KEY, code_of, internal_status, to_status
from virtlease_chassis.telemetry import remote_context, trace_id_of

log = logging.getLogger(__name__)

# Anybody may ask these: probes and tools have no token, and the contract is no secret.
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")

# The boundaries that the semantic conventions advise, in seconds.
_DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

# Server errors by the semantic conventions; all others are the client's affair and leave the span's status alone.
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler once; the wrapped ones are kept by method.

    A call that carries no trace and is not sampled costs a span context and one histogram record, no more: the
    contributed OpenTelemetry interceptor takes a fifth of a server's throughput even then.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        scopes: Mapping[str, str],
        tracer: trace.Tracer,
        meter: metrics.Meter,
        calls: Calls,
    ) -> None:
        """`scopes` names the scope that each method needs, empty for none, by its path `/package.Service/Method`."""
        self._authenticator = authenticator
        self._scopes = scopes
        self._tracer = tracer
        self._calls = calls
        self._duration = meter.create_histogram(
            "rpc.server.call.duration",
            unit="s",
            description="How long an incoming call took.",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS,
        )
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or path.startswith(OPEN_SERVICES):
                return handler
            wrapped = self._wrapped[path] = _wrap(handler, _Method(self, path))
        return wrapped


class _Method:
    """What is the same for all calls of one method."""

    def __init__(self, interceptor: CallInterceptor, path: str) -> None:
        self.name = path.removeprefix("/")
        self.scope = interceptor._scopes[path]
        self.authenticator = interceptor._authenticator
        self.tracer = interceptor._tracer
        self.calls = interceptor._calls
        self.span_attributes = {"rpc.system.name": "grpc", "rpc.method": self.name}
        self._duration = interceptor._duration
        self._measured: dict[str, dict[str, str]] = {}

    def measure(self, seconds: float, code: str) -> None:
        attributes = self._measured.get(code)
        if attributes is None:
            attributes = self._measured[code] = {**self.span_attributes, "rpc.response.status_code": code}
            if code != "OK":
                attributes["error.type"] = code
        self._duration.record(seconds, attributes)


_ROOT = Context()


class _Call:
    """One call, from its first moment to its last."""

    __slots__ = ("_accepted", "_code", "_context", "_metadata", "_method", "_span", "_started", "_token")

    def __init__(self, method: _Method, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._method = method
        self._context = context
        self._code = "OK"
        self._started = time.perf_counter()
        self._metadata = dict(context.invocation_metadata() or ())
        parent = remote_context(self._metadata) or _ROOT
        self._span = method.tracer.start_span(
            method.name, parent, kind=SpanKind.SERVER, attributes=method.span_attributes
        )
        self._token = otel.attach(trace.set_span_in_context(self._span, parent))
        self._accepted = False

    def admit(self) -> None:
        """Finds out who calls and lets them in, or raises a DomainError."""
        self._method.calls.accept()
        self._accepted = True
        caller = self._caller()
        if self._method.scope:
            caller.require(self._method.scope)
        current_caller.set(caller)
        call_peer.set(self._context.peer())
        call_metadata.set(self._metadata)
        reauthenticate.set(self._caller)
        if (remaining := self._context.time_remaining()) is not None:
            call_deadline.set(asyncio.get_running_loop().time() + remaining)

    def _caller(self) -> Caller:
        return self._method.authenticator.caller(self._metadata, self._context.peer(), self._certificate_names)

    async def fail(self, error: BaseException) -> None:
        """Aborts the call with the status of the error. Returns when there is nobody left to be told."""
        if isinstance(error, grpc.aio.AbortError):
            self._code = self._context.code().name
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._code = "CANCELLED"
        elif isinstance(error, DomainError):
            code = code_of(error)
            self._code = code.name
            await self._abort(code, to_status(error, trace_id_of(self._span)))
        elif isinstance(error, Exception):
            log.error("%s failed", self._method.name, exc_info=error)
            self._code = "INTERNAL"
            self._span.record_exception(error)
            await self._abort(grpc.StatusCode.INTERNAL, internal_status(trace_id_of(self._span)))

    def end(self) -> None:
        """Closes the span and counts the call."""
        if self._span.is_recording():
            self._span.set_attribute("rpc.response.status_code", self._code)
            if self._code in _FAULTS:
                self._span.set_attribute("error.type", self._code)
                self._span.set_status(StatusCode.ERROR)
            self._span.end()
        otel.detach(self._token)
        if self._accepted:
            self._method.calls.finish()
        self._method.measure(time.perf_counter() - self._started, self._code)

    async def _abort(self, code: grpc.StatusCode, status: status_pb2.Status) -> None:
        await self._context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))

    def _certificate_names(self) -> Iterable[str]:
        auth = self._context.auth_context()
        for kind in ("x509_subject_alternative_name", "x509_common_name"):
            yield from (name.decode(errors="replace") for name in auth.get(kind, ()))


def _wrap(handler: grpc.RpcMethodHandler[Any, Any], method: _Method) -> grpc.RpcMethodHandler[Any, Any]:
    """The handler with all of that around it. Only unary requests, and streams in both directions, are served."""
    serializers = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(_answer(handler.unary_unary, method), **serializers)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, method), **serializers)
    assert handler.stream_stream, f"{method.name}: client streaming is not served here"
    return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream, method), **serializers)


def _answer(behaviour: Callable[..., Any], method: _Method) -> Callable[..., Any]:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        call = _Call(method, context)
        try:
            call.admit()
            return await behaviour(request, context)
        except BaseException as error:
            await call.fail(error)
            raise
        finally:
            call.end()

    return answer


def _stream(behaviour: Callable[..., Any], method: _Method) -> Callable[..., Any]:
    async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        call = _Call(method, context)
        try:
            call.admit()
            async with contextlib.aclosing(behaviour(request, context)) as responses:
                async for response in responses:
                    yield response
        except BaseException as error:
            await call.fail(error)
            raise
        finally:
            call.end()

    return stream
