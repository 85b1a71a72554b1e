"""A session service in the test's own process: real gRPC over loopback, any store, any clock."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from virtlease.client import SessionPipeline
from virtlease.client.batch_stream import Metadata
from virtlease.session.v1 import session_service_pb2_grpc
from virtlease_chassis.address import Address
from virtlease_chassis.identity import Authenticator
from virtlease_chassis.rpc import GrpcServer, Listen, Service
from virtlease_chassis.settings import ProcessSettings
from virtlease_chassis.telemetry import ProcessTelemetry
from virtlease_session.app import SERVICE, scopes
from virtlease_session.convert import Requests
from virtlease_session.limits import Limits
from virtlease_session.ports import SessionStore
from virtlease_session.servicer import SessionServicer


@dataclass
class Clients:
    """Both ways to a session service."""

    channel: grpc.aio.Channel
    stub: session_service_pb2_grpc.SessionServiceStub
    pipeline: SessionPipeline


@contextlib.asynccontextmanager
async def clients_of(port: int, metadata: Metadata = (), **options: Any) -> AsyncIterator[Clients]:
    """Clients of a service on a loopback port. `metadata` goes with each stream of the pipeline."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        pipeline = SessionPipeline(channel, metadata=lambda: metadata, **options)
        try:
            yield Clients(channel, session_service_pb2_grpc.SessionServiceStub(channel), pipeline)
        finally:
            await pipeline.close()


@contextlib.asynccontextmanager
async def serve_sessions(
    store: SessionStore, *, limits: Limits | None = None, identity_file: Path | None = None, **settings: Any
) -> AsyncIterator[GrpcServer]:
    """Serves a store on a free port; drained at the end."""
    common = ProcessSettings(identity_file=identity_file, **settings)
    with ProcessTelemetry("test", common, serve_metrics=False) as telemetry:
        servicer = SessionServicer(
            store, Requests(limits or Limits(), 3_600_000), telemetry.tracer("test"), common.max_connection_age
        )
        server = GrpcServer(
            [Service(SERVICE, servicer, scopes())],
            settings=common,
            authenticator=Authenticator(identity_file),
            tracer=telemetry.tracer("test"),
            meter=telemetry.meter,
        )
        await server.start([Listen(Address(host="127.0.0.1"), "TEST")])
        try:
            yield server
        finally:
            await server.drain(2)
