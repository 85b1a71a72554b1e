"""The server that every service runs in, over real sockets, with a service of the test's own."""

import asyncio
import contextlib
import logging
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import Authority
from support.greenhouse import SERVICE, compile_descriptors
from support.identities import TOKENS, bearer, write_identities
from support.processes import free_port

from virtlease.client import CallFailed
from virtlease_chassis.address import Address
from virtlease_chassis.errors import FailedPrecondition
from virtlease_chassis.identity import Authenticator, current_caller
from virtlease_chassis.rpc import ChannelOptions, GrpcServer, Listen, Service, open_channel
from virtlease_chassis.rpc.deadline import time_left
from virtlease_chassis.settings import ProcessSettings, SettingsError
from virtlease_chassis.telemetry import ProcessTelemetry


class Beds:
    """Serves some of the greenhouse's RPCs; a bed's number says what happens."""

    def __init__(self, bed: Any) -> None:
        self._bed = bed
        self.gate = asyncio.Event()

    async def get_bed(self, request: Any) -> Any:
        match request.bed:
            case 1:
                raise FailedPrecondition("too dry", metadata={"bed": "1"})
            case 2:
                raise RuntimeError("the secret is 42")
            case 3:
                await self.gate.wait()
            case 4:
                return self._bed(drops=round(time_left(1000)))
            case 5:
                return self._bed(notes={"owner": current_caller.get().principal.name})
            case 6:
                return self._bed(notes={"long": "x" * 100_000})
        return self._bed(bed=request.bed)

    async def water_bed(self, request: Any) -> AsyncIterator[Any]:
        yield self._event(progress={"message": "first"})
        raise FailedPrecondition("the can is empty")

    _event: Any


class World:
    """The server under test and how to call it."""

    def __init__(self, server: GrpcServer, beds: Beds, pool: DescriptorPool) -> None:
        self.server = server
        self.beds = beds
        self._service = pool.FindServiceByName(SERVICE)

    @property
    def target(self) -> str:
        return str(self.server.addresses[0])

    @contextlib.asynccontextmanager
    async def channel(self, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
        async with open_channel(ChannelOptions(self.target, **options)) as channel:
            yield channel

    async def call(self, channel: grpc.aio.Channel, bed: int, method: str = "GetBed", **options: Any) -> Any:
        found = self._service.methods_by_name[method]
        request = GetMessageClass(found.input_type)(bed=bed)
        serializers = {
            "request_serializer": type(request).SerializeToString,
            "response_deserializer": GetMessageClass(found.output_type).FromString,
        }
        options.setdefault("timeout", 10)
        if found.server_streaming:
            stream = channel.unary_stream(f"/{SERVICE}/{method}", **serializers)
            return [item async for item in stream(request, **options)]
        return await channel.unary_unary(f"/{SERVICE}/{method}", **serializers)(request, **options)


@contextlib.asynccontextmanager
async def world(folder: Path, address: str = "127.0.0.1:0", **settings: Any) -> AsyncIterator[World]:
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compile_descriptors(folder).read_bytes()).file:
        pool.Add(file)
    beds = Beds(GetMessageClass(pool.FindMessageTypeByName("greenhouse.v1.Bed")))
    beds._event = GetMessageClass(pool.FindMessageTypeByName("greenhouse.v1.WaterBedEvent"))
    common = ProcessSettings(**settings)
    service = pool.FindServiceByName(SERVICE)
    scopes = {method.name: "vm:write" if method.name == "WaterBed" else "vm:read" for method in service.methods}
    with ProcessTelemetry("test", common, serve_metrics="metrics_address" in settings) as telemetry:
        server = GrpcServer(
            [Service(service, beds, scopes)],
            settings=common,
            authenticator=Authenticator(common.identity_file),
            tracer=telemetry.tracer("test"),
            meter=telemetry.meter,
        )
        await server.start([Listen(Address.parse(address), "VIRTLEASE_TEST_ADDRESS")])
        try:
            yield World(server, beds, pool)
        finally:
            beds.gate.set()
            await server.drain(0.5)


async def refused(call: Any) -> CallFailed:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return CallFailed.from_rpc_error(caught.value)


async def test_domain_errors_and_faults_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with world(tmp_path) as it, it.channel() as channel:
        told = await refused(it.call(channel, 1))
        assert (told.code, told.metadata["bed"]) == (grpc.StatusCode.FAILED_PRECONDITION, "1")
        with caplog.at_level(logging.ERROR):
            fault = await refused(it.call(channel, 2))
        assert (fault.code, fault.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert "42" not in fault.message
        assert "the secret is 42" in caplog.text
        unbuilt = await refused(it.call(channel, 1, "CountBeds"))
        assert unbuilt.code is grpc.StatusCode.UNIMPLEMENTED
        stream = await refused(it.call(channel, 1, "WaterBed"))
        assert stream.message == "the can is empty"


async def test_the_callers_deadline_is_known(tmp_path: Path) -> None:
    async with world(tmp_path) as it, it.channel() as channel:
        assert (await it.call(channel, 4, timeout=100)).drops in (99, 100, 101)
        assert (await it.call(channel, 4, timeout=None)).drops == 1000
        late = await refused(it.call(channel, 3, timeout=0.2))
        assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_identity_is_asked_for_and_probes_are_open(tmp_path: Path) -> None:
    async with world(tmp_path, identity_file=write_identities(tmp_path)) as it, it.channel() as channel:
        assert (await refused(it.call(channel, 5))).code is grpc.StatusCode.UNAUTHENTICATED
        assert (await it.call(channel, 5, metadata=bearer("alice"))).notes == {"owner": "acme/alice"}
        header = ("x-virtlease-principal", "tenant=t&owner=carol&scopes=vm:read")
        assert (await it.call(channel, 5, metadata=(*bearer("gateway"), header))).notes == {"owner": "t/carol"}
        assert (await refused(it.call(channel, 5, "WaterBed", metadata=bearer("reader")))).metadata[
            "scope"
        ] == "vm:write"
        assert await health(channel, SERVICE) == health_pb2.HealthCheckResponse.SERVING


async def test_health_is_each_services_own(tmp_path: Path) -> None:
    async with world(tmp_path) as it, it.channel() as channel:
        assert await health(channel, "") == health_pb2.HealthCheckResponse.SERVING
        await it.server.set_health(SERVICE, False)
        assert await health(channel, SERVICE) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await health(channel, "") == health_pb2.HealthCheckResponse.SERVING
        assert (await refused(health(channel, "nobody"))).code is grpc.StatusCode.NOT_FOUND


async def health(channel: grpc.aio.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status


async def test_tls_and_mutual_tls(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "strangers")
    server, client, stranger = ours.issue("server"), ours.issue("gateway.local"), theirs.issue("stranger")
    identities = tmp_path / "certificates.yaml"
    identities.write_text("identities: [{certificate: gateway.local, tenant: t, owner: gateway, scopes: ['*']}]")
    settings = {"tls_certificate": server.certificate, "tls_key": server.key, "identity_file": identities}
    async with world(tmp_path, **settings, tls_client_ca=ours.certificate) as it:
        mine = {"tls_ca": ours.certificate, "tls_certificate": client.certificate, "tls_key": client.key}
        async with it.channel(**mine) as channel:
            assert (await it.call(channel, 5)).notes == {"owner": "t/gateway"}
        for wrong in (
            {},
            {"tls_ca": ours.certificate},
            {"tls_ca": theirs.certificate, "tls_certificate": client.certificate, "tls_key": client.key},
            {"tls_ca": ours.certificate, "tls_certificate": stranger.certificate, "tls_key": stranger.key},
        ):
            async with it.channel(**wrong) as channel:
                assert (await refused(it.call(channel, 5, timeout=3))).code is grpc.StatusCode.UNAVAILABLE
    # With TLS alone, a token says who calls
    settings["identity_file"] = write_identities(tmp_path)
    async with world(tmp_path, **settings) as it, it.channel(tls_ca=ours.certificate) as channel:
        assert (await it.call(channel, 5, metadata=bearer("bob"))).notes == {"owner": "acme/bob"}
        assert TOKENS["bob"]


async def test_a_message_that_is_too_large(tmp_path: Path) -> None:
    async with world(tmp_path, max_message_bytes=65_536) as it, it.channel(max_message_bytes=65_536) as channel:
        assert (await refused(it.call(channel, 6))).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await it.call(channel, 7)).bed == 7


async def test_a_busy_port_is_named_with_its_setting(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        with pytest.raises(SettingsError, match=f"VIRTLEASE_TEST_ADDRESS.*{it.target}"):
            async with world(tmp_path, it.target):
                pass


async def test_p7_a_drain_answers_what_was_accepted_and_refuses_the_rest(tmp_path: Path) -> None:
    async with world(tmp_path) as it, it.channel() as channel:
        accepted = asyncio.create_task(it.call(channel, 3))
        while not it.server._calls.running:
            await asyncio.sleep(0.01)
        draining = asyncio.create_task(it.server.drain(10))
        await asyncio.sleep(0.05)
        assert await health(channel, SERVICE) == health_pb2.HealthCheckResponse.NOT_SERVING
        late = await refused(it.call(channel, 7))
        assert (late.code, late.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert late.retry_after
        it.beds.gate.set()
        assert (await accepted).bed == 3
        await draining


async def test_a_drain_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with world(tmp_path) as it, it.channel() as channel:
        accepted = asyncio.create_task(it.call(channel, 3, timeout=60))
        while not it.server._calls.running:
            await asyncio.sleep(0.01)
        await asyncio.wait_for(it.server.drain(0.2), 10)
        assert (await refused(accepted)).code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


async def test_an_old_connection_is_replaced_and_no_call_is_lost(tmp_path: Path) -> None:
    async with world(tmp_path, max_connection_age=1) as it, it.channel() as channel:
        slow = asyncio.create_task(it.call(channel, 3))
        for _ in range(30):
            assert (await it.call(channel, 8)).bed == 8
            await asyncio.sleep(0.1)
        it.beds.gate.set()
        assert (await slow).bed == 3


async def test_calls_are_measured(tmp_path: Path) -> None:
    port = free_port()
    async with world(tmp_path, metrics_address=f"127.0.0.1:{port}") as it, it.channel() as channel:
        await it.call(channel, 7)
        await refused(it.call(channel, 1))
        lines: list[str] = []
        while len(lines) < 2:  # a call is counted when it is over, which may be a moment after its answer came
            page = await asyncio.to_thread(
                lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
            )
            lines = [line for line in page.splitlines() if line.startswith("rpc_server_call_duration_seconds_count")]
    assert any('rpc_response_status_code="OK"' in line and line.endswith(" 1.0") for line in lines)
    assert any('error_type="FAILED_PRECONDITION"' in line and line.endswith(" 1.0") for line in lines)
    assert all(f'rpc_method="{SERVICE}/GetBed"' in line for line in lines)


async def test_a_metrics_port_that_is_set_and_busy_stops_the_start(tmp_path: Path) -> None:
    port = free_port()
    settings = ProcessSettings(metrics_address=f"127.0.0.1:{port}")
    with ProcessTelemetry("one", settings), pytest.raises(SettingsError, match="VIRTLEASE_METRICS_ADDRESS"):
        ProcessTelemetry("two", settings)
