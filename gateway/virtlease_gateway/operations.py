"""What surrounds every MCP request, whatever its transport: its trace, its metrics, and what the access log says of it.

After OpenTelemetry's semantic conventions for MCP: the client's `_meta` is the parent of the request's span, and the
trace that the HTTP request came with is linked to it. FastMCP's own spans are off: they know neither.
"""

import time
from collections.abc import Mapping
from typing import Any

import fastmcp
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult
from opentelemetry import context as otel
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode
from pydantic import ValidationError

from virtlease_chassis.telemetry import remote_context, trace_id_of
from virtlease_gateway.asgi.access_log import OPERATION
from virtlease_gateway.users import current_user

fastmcp.settings.telemetry_mode = "off"

# The boundaries that the semantic conventions advise, in seconds.
_DURATION_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_CARRIED = ("traceparent", "tracestate", "baggage")
_NOTHING: Mapping[str, Any] = {}
_ROOT = Context()


class Operations:
    """The outermost of the SDK's middlewares: it sees requests that no handler sees."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter, names: frozenset[str]) -> None:
        """`names` are those of tools and prompts: others are not kept, since a client could make up any number."""
        self._tracer = tracer
        self.names = names
        self._duration = meter.create_histogram(
            "mcp.server.operation.duration",
            unit="s",
            description="How long an MCP request took.",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS,
        )

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.request_id is None:
            return await call_next(ctx)
        started = time.perf_counter()
        name = self._name(ctx)
        attributes = _attributes(ctx, name)
        parent, links = _origin(ctx)
        span = self._tracer.start_span(
            f"{ctx.method} {name}" if name else ctx.method, parent, SpanKind.SERVER, attributes, links
        )
        token = otel.attach(trace.set_span_in_context(span, parent))
        error = ""
        try:
            result = await call_next(ctx)
            error = _tool_error(ctx.method, result)
            return result
        except BaseException as caught:
            error = _error_type(caught)
            raise
        finally:
            if error:
                attributes["error.type"] = error
            self._duration.record(time.perf_counter() - started, attributes)
            if span.is_recording():
                _finish(span, ctx, error)
            span.end()
            _tell_access_log(ctx, name, error, span)
            otel.detach(token)

    def _name(self, ctx: ServerRequestContext[Any, Any]) -> str:
        if ctx.method not in ("tools/call", "prompts/get") or not ctx.params:
            return ""
        name = ctx.params.get("name")
        return name if isinstance(name, str) and name in self.names else ""


def _attributes(ctx: ServerRequestContext[Any, Any], name: str) -> dict[str, str]:
    attributes = {
        "mcp.method.name": ctx.method,
        "mcp.protocol.version": ctx.protocol_version,
        "network.transport": "tcp" if ctx.request is not None else "pipe",
    }
    if ctx.method == "tools/call":
        attributes["gen_ai.operation.name"] = "execute_tool"
    if name:
        attributes["gen_ai.tool.name" if ctx.method == "tools/call" else "gen_ai.prompt.name"] = name
    return attributes


def _origin(ctx: ServerRequestContext[Any, Any]) -> tuple[Context, list[Link]]:
    """The context that the request continues, and a link to the other one when it came with two."""
    by_header = remote_context(_carried(ctx.request.headers)) if ctx.request is not None else None
    by_meta = remote_context(_carried(ctx.meta or _NOTHING))
    if by_meta is None or by_header is None:
        return by_meta or by_header or _ROOT, []
    ambient = trace.get_current_span(by_header).get_span_context()
    if not trace.get_current_span(by_meta).get_span_context().is_valid:
        return by_header, []
    return by_meta, [Link(ambient)] if ambient.is_valid else []


def _carried(source: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key in _CARRIED if isinstance(value := source.get(key), str)}


def _tool_error(method: str, result: HandlerResult) -> str:
    if method == "tools/call":
        match result:
            case CallToolResult(is_error=True) | {"isError": True}:
                return "tool_error"
    return ""


def _error_type(error: BaseException) -> str:
    match error:
        case MCPError():
            return str(error.error.code)
        case ValidationError():
            return str(INVALID_PARAMS)
    return type(error).__qualname__


def _finish(span: trace.Span, ctx: ServerRequestContext[Any, Any], error: str) -> None:
    span.set_attribute("jsonrpc.request.id", str(ctx.request_id))
    span.set_attribute("enduser.id", current_user().name)
    if error:
        span.set_attribute("error.type", error)
        if error.lstrip("-").isdigit():
            span.set_attribute("rpc.response.status_code", error)
        span.set_status(StatusCode.ERROR)


def _tell_access_log(ctx: ServerRequestContext[Any, Any], name: str, error: str, span: trace.Span) -> None:
    operation = ctx.request.scope.get(OPERATION) if ctx.request is not None else None
    if operation is not None:
        operation.update(
            mcp_method=ctx.method, mcp_name=name, user=current_user().name, error=error, trace_id=trace_id_of(span)
        )
