"""A pool service in the test's own process: real gRPC over loopback, real libvirt."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from virtlease.client.errors import CallFailed
from virtlease.pool.v1 import pool_service_pb2_grpc, vm_service_pb2_grpc
from virtlease_chassis.address import Address
from virtlease_chassis.identity import Authenticator
from virtlease_chassis.process import Process
from virtlease_chassis.settings import Loaded, ProcessSettings
from virtlease_chassis.telemetry import ProcessTelemetry
from virtlease_pool.app import pool_service
from virtlease_pool.settings import PoolSettings


@dataclass(frozen=True, slots=True)
class Served:
    """A running pool service and a client of it."""

    channel: grpc.aio.Channel
    pool: Any
    """The stub of PoolService."""
    vms: Any
    """The stub of VmService."""
    address: str


@contextlib.asynccontextmanager
async def serve_pool(*, identity_file: Path | None = None, token: str = "", **settings: Any) -> AsyncIterator[Served]:
    """Serves on a free port with these settings of the pool; drained at the end."""
    common = ProcessSettings(identity_file=identity_file, drain_timeout=0.5)
    pool = PoolSettings(**{"address": Address(host="127.0.0.1"), **settings})
    with ProcessTelemetry("test", common, serve_metrics=False) as telemetry:
        process = Process(Loaded({ProcessSettings: common, PoolSettings: pool}), telemetry, asyncio.Event())
        async with pool_service(process, Authenticator(identity_file)) as server:
            address = str(server.addresses[0])
            async with grpc.aio.insecure_channel(address) as channel:
                yield Served(
                    channel,
                    pool_service_pb2_grpc.PoolServiceStub(channel),
                    vm_service_pb2_grpc.VmServiceStub(channel),
                    address,
                )


async def failure(call: Any) -> CallFailed:
    """What a call fails with. Fails the test when it does not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return CallFailed.from_rpc_error(error)
    raise AssertionError("it succeeded")


async def result(stream: Any) -> Any:
    """The last message of a stream."""
    return [message async for message in stream][-1]
