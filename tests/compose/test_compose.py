"""The main job through Compose, which scripts/test_compose.sh has started."""

import asyncio
import os
import subprocess
import urllib.error
import urllib.request

import grpc
import pytest
from e2e.test_main_job import main_job
from fastmcp import Client

from virtlease.pool.v1 import vm_inspection_pb2, vm_service_pb2_grpc

URL = "http://127.0.0.1:8000/mcp"
SERVICES = ("session", "pool", "gateway", "redis")


@pytest.fixture
def token() -> str:
    if "VIRTLEASE_TEST_TOKEN" not in os.environ:
        pytest.skip("run by `make test-compose`, which starts Compose")
    return os.environ["VIRTLEASE_TEST_TOKEN"].strip()


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_main_job_through_compose(token: str, era: str) -> None:
    async with Client(URL, auth=token, mode=era) as client:
        await main_job(client)


async def test_nobody_gets_in_without_a_token(token: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        await asyncio.to_thread(urllib.request.urlopen, urllib.request.Request(URL, b"{}"))
    async with grpc.aio.insecure_channel("127.0.0.1:50052") as channel:
        stub = vm_service_pb2_grpc.VmServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListVms(vm_inspection_pb2.ListVmsRequest(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        known = await stub.ListVms(
            vm_inspection_pb2.ListVmsRequest(), metadata=(("authorization", f"Bearer {token}"),), timeout=5
        )
        assert [vm.name for vm in known.vms] == ["test"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_healthy(token: str, service: str) -> None:
    name = f"virtlease-test_{service}_1"
    found = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Health.Status}} {{.Config.User}}", name],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    status, _, user = found.stdout.strip().partition(" ")
    assert status == "healthy"
    assert user == ("" if service == "redis" else "10001:10001")  # redis is its own maker's image
