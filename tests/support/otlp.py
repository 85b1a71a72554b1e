"""A real OTLP receiver over gRPC that keeps the spans it gets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class Span:
    """What the tests ask of a span."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass
class Received:
    """The spans, and the names of the metrics, that have come so far."""

    endpoint: str
    spans: list[Span] = field(default_factory=list)
    metrics: set[str] = field(default_factory=set)

    def of_trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]


class _Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    async def Export(self, request, context):  # noqa: N802
        for resource in request.resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._received.spans.append(
                        Span(
                            service,
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            tuple(link.trace_id.hex() for link in span.links),
                            {each.key: each.value.string_value for each in span.attributes},
                        )
                    )
        return trace_service_pb2.ExportTraceServiceResponse()


class _MetricsReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    async def Export(self, request, context):  # noqa: N802
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self._received.metrics.update(metric.name for metric in scope.metrics)
        return metrics_service_pb2.ExportMetricsServiceResponse()


@contextlib.asynccontextmanager
async def otlp_receiver() -> AsyncIterator[Received]:
    """A receiver on a free loopback port."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    received = Received(f"http://127.0.0.1:{port}")
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Receiver(received), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_MetricsReceiver(received), server)
    await server.start()
    try:
        yield received
    finally:
        await server.stop(0)


async def eventually(check, seconds: float = 15.0):
    """Waits until the check returns something true, and returns that."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        if found := check():
            return found
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds:g} s"
        await asyncio.sleep(0.05)
