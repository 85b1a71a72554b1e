"""Starts the OpenTelemetry SDK and flushes it at the end."""

import logging
import os
from collections.abc import Mapping
from typing import Self

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from prometheus_client import start_http_server

from virtlease_chassis.address import Address
from virtlease_chassis.settings import ProcessSettings, SettingsError

SCOPE = "virtlease"
log = logging.getLogger(__name__)


class ProcessTelemetry:
    """Traces and metrics of one process.

    Spans and metrics go to the collector when OTEL_EXPORTER_OTLP_ENDPOINT (or its variant for one signal) is set;
    without it no span is recorded, but every call still gets a trace id for its log lines and errors. The sampler
    and everything else is set by the standard OTEL_* variables. Metrics are also served for Prometheus.

    Each service of the process has a tracer provider of its own, so that a trace names the service and not the
    process; the metrics are the process's, told apart by the method they are of.
    """

    def __init__(self, process: str, settings: ProcessSettings, *, serve_metrics: bool = True) -> None:
        self._providers: dict[str, TracerProvider] = {}
        readers: list[MetricReader] = []
        if _exports("METRICS"):
            readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        self._prometheus = _serve_prometheus(settings) if serve_metrics else None
        if self._prometheus:
            readers.append(PrometheusMetricReader())
        self._meters = MeterProvider(readers, resource=_resource(process), shutdown_on_exit=False)

    def tracer(self, service: str) -> trace.Tracer:
        """The tracer of a service."""
        return self.tracer_provider(service).get_tracer(SCOPE)

    def tracer_provider(self, service: str) -> TracerProvider:
        """The tracer provider of a service, made at first use."""
        if service not in self._providers:
            exports = _exports("TRACES")
            # With a sampler given, the SDK does not look at OTEL_TRACES_SAMPLER.
            provider = TracerProvider(
                resource=_resource(service),
                sampler=None if exports else ParentBased(ALWAYS_OFF),
                shutdown_on_exit=False,
            )
            if exports:
                provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._providers[service] = provider
        return self._providers[service]

    @property
    def meter(self) -> metrics.Meter:
        """The meter of the process."""
        return self._meters.get_meter(SCOPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Sends what is left, for at most five seconds each, and stops."""
        for provider in self._providers.values():
            provider.force_flush(5000)
            provider.shutdown()
        self._meters.force_flush(5000)
        self._meters.shutdown(5000)
        if self._prometheus:
            server, thread = self._prometheus
            server.shutdown()
            server.server_close()
            thread.join(5)


def _exports(signal: str) -> bool:
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    chosen = os.environ.get(f"OTEL_{signal}_EXPORTER", "otlp")
    return bool(endpoint) and chosen != "none" and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def _resource(service: str) -> Resource:
    name = os.environ.get("OTEL_SERVICE_NAME") or f"virtlease-{service}"
    attributes: Mapping[str, str] = {"service.name": name, "service.namespace": "virtlease"}
    return Resource.create(dict(attributes))


def _serve_prometheus(settings: ProcessSettings):  # type: ignore[no-untyped-def]  # wsgiref's types
    address: Address = settings.metrics_address or settings.DEFAULT_METRICS_ADDRESS
    if address.port == 0:
        return None
    try:
        return start_http_server(address.port, address.host)
    except OSError as error:
        setting = settings.env_name("metrics_address")
        if settings.metrics_address is not None:
            raise SettingsError([f"{setting}: cannot serve metrics on {address}: {error.strerror}"]) from error
        # Several processes on one machine are ordinary; only the first can have the default port.
        log.warning("metrics are not served: %s is in use; set %s", address, setting)
        return None
