"""Runs gRPC services: health for each, reflection, keepalive, limits, and an end that loses no accepted call."""

import asyncio
import functools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry import metrics, trace

from virtlease_chassis.address import Address
from virtlease_chassis.identity import Authenticator
from virtlease_chassis.rpc.calls import Calls
from virtlease_chassis.rpc.interceptor import CallInterceptor
from virtlease_chassis.rpc.service import Service
from virtlease_chassis.settings import ProcessSettings, SettingsError

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_QUIET_SECONDS = 0.2
_REFUSING_SECONDS = 2.0
_LAST_ANSWERS_SECONDS = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listen:
    """An address, and the setting that would change it."""

    address: Address
    setting: str


class GrpcServer:
    """A grpc.aio server. Start it, then wait for a signal, then drain it."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        settings: ProcessSettings,
        authenticator: Authenticator,
        tracer: trace.Tracer,
        meter: metrics.Meter,
        share_port: bool = False,
    ) -> None:
        """`share_port` lets other processes listen on the same addresses."""
        self._calls = Calls()
        self._services = services
        self._settings = settings
        scopes = {
            f"/{service.name}/{method}": scope for service in services for method, scope in service.scopes.items()
        }
        self._server = grpc.aio.server(
            interceptors=[CallInterceptor(authenticator, scopes, tracer, meter, self._calls)],
            options=_options(settings, share_port),
        )
        for service in services:
            service.add_to(self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*(service.name for service in services), health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        self._followers: list[asyncio.Task[None]] = []
        self.addresses: list[Address] = []

    async def start(self, listens: Sequence[Listen]) -> None:
        """Binds and serves. Raises SettingsError that names the setting of an address that cannot be had."""
        credentials = _credentials(self._settings)
        for listen in listens:
            self.addresses.append(self._bind(listen, credentials))
        await self._server.start()
        await self.set_health("", True)
        for service in self._services:
            await self.set_health(service.name, True)
            if service.health is not None:
                follow = service.health.follow(functools.partial(self.set_health, service.name))
                self._followers.append(asyncio.create_task(follow))

    async def set_health(self, service: str, serving: bool) -> None:
        """What a health check of the service answers from now on. The empty name stands for the whole server."""
        await self._health.set(service, SERVING if serving else NOT_SERVING)

    async def drain(self, grace: float) -> None:
        """Says NOT_SERVING, refuses new calls, answers those that were accepted, and stops.

        Calls that take longer than `grace` seconds are cancelled.
        """
        for follower in self._followers:
            follower.cancel()
        await self._health.enter_graceful_shutdown()
        self._calls.refuse()
        try:
            await asyncio.wait_for(self._calls.wait_until_answered(), grace)
        except TimeoutError:
            log.warning("%d calls did not finish within %g s and are cancelled", self._calls.running, grace)
        # gRPC's core answers CANCELLED to calls that are on the wire when it stops; UNAVAILABLE is what sends clients
        # elsewhere. So it stops when they have gone, or have been told often enough.
        await self._calls.wait_until_nobody_calls(quiet=_QUIET_SECONDS, most=_REFUSING_SECONDS)
        await self._server.stop(0 if self._calls.running else _LAST_ANSWERS_SECONDS)

    def _bind(self, listen: Listen, credentials: grpc.ServerCredentials | None) -> Address:
        address = listen.address
        try:
            if address.path:
                Path(address.path).unlink(missing_ok=True)
                self._server.add_insecure_port(str(address))  # only this user can reach it: no TLS
                os.chmod(address.path, 0o600)
                return address
            if credentials:
                port = self._server.add_secure_port(str(address), credentials)
            else:
                port = self._server.add_insecure_port(str(address))
        except (RuntimeError, OSError) as error:
            raise SettingsError(
                [
                    f"{listen.setting}: cannot listen on {address}: it is in use or not of this machine; "
                    f"set {listen.setting} to another address"
                ]
            ) from error
        return Address(host=address.host, port=port)


def _credentials(settings: ProcessSettings) -> grpc.ServerCredentials | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return grpc.ssl_server_credentials(
        [(settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())],
        root_certificates=settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None,
        require_client_auth=settings.tls_client_ca is not None,
    )


def _options(settings: ProcessSettings, share_port: bool = False) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(share_port)),  # otherwise a busy port is shared silently with whoever has it
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_connection_age_ms", round(settings.max_connection_age * 1000)),
        # Streams end by themselves at that age, counted from their own beginning.
        ("grpc.max_connection_age_grace_ms", round(settings.max_connection_age * 1000) + 60_000),
        # Finds clients that vanished without a word; lets clients ping as often as our own do.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
