"""SIGTERM under load: every accepted call is answered, everything else is UNAVAILABLE."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import grpc
import pytest
from support.processes import BIN, Addresses, clean_environment, running

from virtlease.pool.v1 import vm_inspection_pb2, vm_service_pb2_grpc
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2, session_service_pb2_grpc

CALLERS = 32


async def test_p7_sigterm_answers_every_accepted_session_call(tmp_path: Path) -> None:
    addresses = Addresses.free()
    env = clean_environment(**addresses.settings)
    with running(tmp_path, "session", str(BIN / "virtlease"), "session", env=env) as process:
        process.wait_for("session service on")
        async with grpc.aio.insecure_channel(addresses.session) as channel:
            stub = session_service_pb2_grpc.SessionServiceStub(channel)
            created = await stub.CreateSession(calls.CreateSessionRequest())
            update = calls.UpdateSessionRequest(
                session_id=created.session.session_id, mutations=[session_pb2.Mutation(key="n", increment=1)]
            )
            outcomes, answers = await _load(lambda: stub.UpdateSession(update, timeout=10), process.process.pid)
        assert process.process.wait(30) == 0
    # I expect nothing but answers and UNAVAILABLE
    assert set(outcomes) == {"OK", "UNAVAILABLE"}
    # And each accepted increment to have been answered: the counter's values have no gap
    values = sorted(answer.incremented["n"] for answer in answers)
    assert values == list(range(1, len(values) + 1))


async def test_p7_sigterm_answers_every_accepted_vm_call(tmp_path: Path) -> None:
    addresses = Addresses.free()
    env = clean_environment(**addresses.settings)
    with running(tmp_path, "pool", str(BIN / "virtlease"), "pool", env=env) as process:
        process.wait_for("pool service on")
        async with grpc.aio.insecure_channel(addresses.pool) as channel:
            stub = vm_service_pb2_grpc.VmServiceStub(channel)
            request = vm_inspection_pb2.GetVmRequest(vm_id="local/test")
            outcomes, answers = await _load(lambda: stub.GetVm(request, timeout=10), process.process.pid)
        assert process.process.wait(30) == 0
    assert set(outcomes) == {"OK", "UNAVAILABLE"}
    assert all(answer.vm.name == "test" for answer in answers)


async def _load(call, pid: int):
    """Calls without pause from many callers, sends SIGTERM in the middle of it, and counts what comes back."""
    outcomes: Counter[str] = Counter()
    answers = []

    async def caller() -> None:
        refused = 0
        while refused < 20:
            try:
                answers.append(await call())
                outcomes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
                refused += 1
                await asyncio.sleep(0.005)

    async def stop() -> None:
        while outcomes["OK"] < 500:
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGTERM)

    await asyncio.gather(stop(), *(caller() for _ in range(CALLERS)))
    return outcomes, answers


@pytest.mark.parametrize("name", ["session", "pool", "gateway"])
def test_sigterm_before_any_call_ends_at_once(tmp_path: Path, name: str) -> None:
    env = clean_environment(**Addresses.free().settings)
    with running(tmp_path, name, str(BIN / "virtlease"), name, env=env) as process:
        process.wait_for(" on ")
        assert process.terminate(10) == 0
