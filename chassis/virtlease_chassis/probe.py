"""A health check for containers: `python -m virtlease_chassis.probe grpc:HOST:PORT` or `http://HOST:PORT/healthz`."""

import sys
import urllib.error
import urllib.request
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

_SECONDS = 3.0


def probe(target: str) -> bool:
    """Whether what is at the target says that it serves."""
    if target.startswith("grpc:"):
        return _probe_grpc(target.removeprefix("grpc:"))
    try:
        with urllib.request.urlopen(target, timeout=_SECONDS) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False


def _probe_grpc(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        check: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if probe(sys.argv[1]) else 1)
