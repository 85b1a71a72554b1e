"""OpenTelemetry for a process and for the services that run in it."""

from virtlease_chassis.telemetry.process import ProcessTelemetry
from virtlease_chassis.telemetry.propagation import remote_context, trace_id_of, traceparent

__all__ = ["ProcessTelemetry", "remote_context", "trace_id_of", "traceparent"]
