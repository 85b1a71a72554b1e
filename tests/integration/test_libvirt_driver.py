"""Connections to real libvirt: its test driver, in this process."""

import asyncio
import threading
import time

import libvirt
import pytest

from virtlease_chassis.errors import DomainError
from virtlease_pool.driver import LibvirtDriver
from virtlease_pool.driver.commands import Host
from virtlease_pool.errors import ConnectionBroke, HypervisorUnavailable, VmNotFound, WrongState
from virtlease_pool.model import HypervisorConfig, VmRef

CONFIG = HypervisorConfig("local", "test:///default")


async def test_calls_run_in_a_thread_of_the_connection() -> None:
    driver = LibvirtDriver()
    first, second = await driver.open(CONFIG), await driver.open(CONFIG)
    threads = [await connection.run(lambda _: threading.current_thread()) for connection in (first, first, second)]
    assert threads[0] is threads[1] is not threads[2]
    assert threading.current_thread() not in threads
    assert (await first.run(driver.facts)).driver == "TEST"
    await asyncio.gather(first.close(), second.close())
    await asyncio.sleep(0.1)
    assert not any(thread.is_alive() for thread in threads)


async def test_a_cancelled_call_keeps_the_connection_busy_until_it_comes_back() -> None:
    connection = await LibvirtDriver().open(CONFIG)
    gate = threading.Event()
    call = asyncio.create_task(connection.run(lambda _: gate.wait(10)))
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert connection.fault
    closing = asyncio.create_task(connection.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    gate.set()
    await closing


async def test_p4_one_call_in_flight_on_a_connection() -> None:
    connection = await LibvirtDriver().open(CONFIG)
    running = 0
    most = 0

    def call(_handle: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1

    async def caller() -> None:
        await connection._quiet.wait()
        await connection.run(call)

    await asyncio.gather(*(caller() for _ in range(5)))
    assert most == 1
    await connection.close()


async def test_what_cannot_be_reached_is_unavailable_and_no_address_is_told() -> None:
    with pytest.raises(HypervisorUnavailable) as caught:
        await LibvirtDriver().open(HypervisorConfig("gone", "qemu+tcp://127.0.0.1:9/system"))
    assert "127.0.0.1" not in caught.value.message
    assert caught.value.retry_after


async def test_errors_are_told_in_the_words_of_the_domain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection = await LibvirtDriver().open(CONFIG)

    def missing(handle: libvirt.virConnect) -> None:
        Host("local", handle).vm(VmRef("local", "nobody"))

    def wrong(handle: libvirt.virConnect) -> None:
        vm = Host("local", handle).vm(VmRef("local", "test"))
        raise WrongState(vm.vm_id, "RUNNING", "PAUSED")

    def ours(handle: libvirt.virConnect) -> None:
        vm = Host("local", handle).vm(VmRef("local", "test"))
        raise KeyError(vm.vm_id)

    for call, kind in ((missing, VmNotFound), (wrong, WrongState), (ours, KeyError)):
        with pytest.raises(kind) as caught:
            await connection.run(call)
        if kind is KeyError:
            assert any("in ours" in note for note in caught.value.__notes__)
        else:
            assert isinstance(caught.value, DomainError)
    assert not connection.fault
    await connection.close()
    assert "leaked" not in caplog.text


async def test_a_leaked_reference_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    connection = await LibvirtDriver().open(CONFIG)
    domain = await connection.run(lambda handle: handle.lookupByName("test"))
    await connection.close()
    assert "1 references to a connection to local were leaked" in caplog.text
    del domain


async def test_a_closed_connection_refuses() -> None:
    connection = await LibvirtDriver().open(CONFIG)
    await connection.close()
    assert connection.fault
    assert not await connection.alive()
    with pytest.raises(HypervisorUnavailable) as caught:
        await connection.run(lambda handle: handle.getHostname())
    assert not isinstance(caught.value, ConnectionBroke)  # the call never began
