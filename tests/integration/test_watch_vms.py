"""WatchVms over gRPC, on libvirt's test driver."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.pool_server import Served, failure, serve_pool

from virtlease.pool.v1 import vm_lifecycle_pb2, vm_pb2
from virtlease.pool.v1 import vm_watch_pb2 as pb

VM = "local/test"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve_pool() as served:
        yield served


async def begin(served: Served, **request: Any) -> Any:
    """A watch that has begun."""
    stream = served.vms.WatchVms(pb.WatchVmsRequest(**request), timeout=20)
    first = await stream.read()
    assert first.resume_token
    assert not first.events
    return stream, first.resume_token


async def told(stream: Any, number: int) -> list[pb.VmEvent]:
    events: list[pb.VmEvent] = []
    while len(events) < number:
        events += (await stream.read()).events
    return events


async def test_what_happens_is_told_in_order(served: Served) -> None:
    stream, _ = await begin(served)
    await served.vms.SuspendVm(vm_lifecycle_pb2.SuspendVmRequest(vm_id=VM))
    await served.vms.ResumeVm(vm_lifecycle_pb2.ResumeVmRequest(vm_id=VM))
    await served.vms.ForceOffVm(vm_lifecycle_pb2.ForceOffVmRequest(vm_id=VM))
    await served.vms.StartVm(vm_lifecycle_pb2.StartVmRequest(vm_id=VM))
    events = await told(stream, 4)
    assert [(pb.VmEventType.Name(event.type), vm_pb2.VmState.Name(event.vm.state)) for event in events] == [
        ("VM_EVENT_TYPE_SUSPENDED", "VM_STATE_PAUSED"),
        ("VM_EVENT_TYPE_RESUMED", "VM_STATE_RUNNING"),
        ("VM_EVENT_TYPE_STOPPED", "VM_STATE_SHUT_OFF"),
        ("VM_EVENT_TYPE_STARTED", "VM_STATE_RUNNING"),
    ]
    assert {event.vm.vm_id for event in events} == {VM}
    assert all(event.vm.uuid and event.time.seconds for event in events)
    assert (events[2].detail, events[3].detail) == ("cut off", "booted")
    stream.cancel()


async def test_a_watch_goes_on_from_a_token_and_begins_with_states(served: Served) -> None:
    stream, token = await begin(served)
    stream.cancel()
    await served.vms.SuspendVm(vm_lifecycle_pb2.SuspendVmRequest(vm_id=VM))
    await asyncio.sleep(0.1)
    resumed = served.vms.WatchVms(pb.WatchVmsRequest(resume_token=token, include_initial_state=True), timeout=20)
    events = await told(resumed, 2)
    assert [pb.VmEventType.Name(event.type) for event in events] == ["VM_EVENT_TYPE_STATE", "VM_EVENT_TYPE_SUSPENDED"]
    assert events[0].vm.state == vm_pb2.VM_STATE_PAUSED
    resumed.cancel()


async def test_only_what_was_asked_for_is_told(served: Served) -> None:
    uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"
    by_uuid, _ = await begin(served, vm_ids=[f"local/{uuid}"])
    other, _ = await begin(served, vm_ids=["local/other"], progress_interval=Duration(seconds=1))
    await served.vms.SuspendVm(vm_lifecycle_pb2.SuspendVmRequest(vm_id=VM))
    assert (await told(by_uuid, 1))[0].vm.name == "test"
    progress = await other.read()
    assert not progress.events
    assert progress.resume_token
    for stream in (by_uuid, other):
        stream.cancel()


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (pb.WatchVmsRequest(resume_token="nonsense"), "INVALID_ARGUMENT", "resume_token"),
        (pb.WatchVmsRequest(resume_token="00000000-5"), "OUT_OF_RANGE", "list anew"),
        (pb.WatchVmsRequest(hypervisors=["none"]), "NOT_FOUND", "none"),
        (pb.WatchVmsRequest(vm_ids=["bare"]), "INVALID_ARGUMENT", "vm_ids"),
        (pb.WatchVmsRequest(progress_interval=Duration(nanos=1)), "INVALID_ARGUMENT", "progress_interval"),
    ],
    ids=["token", "compacted", "hypervisor", "bare", "interval"],
)
async def test_bad_requests_are_told_what_is_wrong(served: Served, request_: Any, code: str, said: str) -> None:
    async def read() -> None:
        async for _ in served.vms.WatchVms(request_, timeout=5):
            pass

    fault = await failure(read())
    assert fault.code is getattr(grpc.StatusCode, code)
    assert said in fault.message
