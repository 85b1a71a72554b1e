"""W3C trace context in and out of metadata, for the calls that carry one."""

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])


def remote_context(metadata: Mapping[str, str | bytes]) -> Context | None:
    """The context that the metadata carries, or None: most calls in a busy process carry none, and cost nothing."""
    if "traceparent" not in metadata and "baggage" not in metadata:
        return None
    return _PROPAGATOR.extract({key: value for key, value in metadata.items() if isinstance(value, str)}, Context())


def outgoing() -> list[tuple[str, str]]:
    """Metadata that carries the current context on."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return list(carrier.items())


def traceparent() -> str:
    """The W3C traceparent of the current span; empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def trace_id_of(span: trace.Span) -> str:
    """The span's trace id in hex; empty when it has none."""
    context = span.get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""
