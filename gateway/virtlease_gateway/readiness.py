"""Whether the services behind the gateway can be worked with."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SECONDS = 2.0


class Readiness:
    """Asks the services for their health, when it is asked itself."""

    def __init__(self, services: Sequence[tuple[str, grpc.aio.Channel]]) -> None:
        """`services` are full names with the channels that lead there."""
        self._services = services

    async def services(self) -> dict[str, bool]:
        """For each service, whether it says that it is serving. Never takes longer than two seconds."""
        answers = await asyncio.gather(*(_serves(name, channel) for name, channel in self._services))
        return {name: serves for (name, _), serves in zip(self._services, answers, strict=True)}


async def _serves(name: str, channel: grpc.aio.Channel) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its types are those of synchronous channels
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=_SECONDS)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
