"""What the control connection finds out about a hypervisor. On virtual time."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from support.virtual_time import run

from virtlease_chassis.clock import FakeClock
from virtlease_chassis.errors import DomainError
from virtlease_pool.control import Control
from virtlease_pool.errors import HypervisorUnavailable
from virtlease_pool.model import Health, HostFacts, HypervisorConfig, VmEvent, VmEventType, VmSeen


class Daemon:
    """libvirtd as the control connection meets it: a driver and its connections."""

    def __init__(self) -> None:
        self.reachable = True
        self.answers = True
        self.workers = asyncio.Event()
        self.workers.set()
        self.opened: list[float] = []
        self.in_flight = 0
        self.most = 0
        self.vms: list[VmSeen] = []

    async def open(self, _config: HypervisorConfig) -> "Daemon":
        self.opened.append(asyncio.get_running_loop().time())
        if not self.reachable:
            raise HypervisorUnavailable("hv", "nobody there")
        return self

    def facts(self, _handle: Any) -> HostFacts:
        return HostFacts("TEST", "host", "9.0.0", "9.0.0")

    def work(self, _handle: Any) -> None: ...

    async def run(self, call: Callable[[Any], Any]) -> Any:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            if call == self.work:
                await self.workers.wait()
            if not self.answers:
                raise HypervisorUnavailable("hv", "broken")
            return call(None)
        finally:
            self.in_flight -= 1

    async def watch(self, _tell: object) -> None: ...

    def states(self, _handle: Any) -> list[VmSeen]:
        return self.vms

    async def alive(self) -> bool:
        return self.answers

    async def close(self) -> None: ...


class Watched:
    def __init__(self) -> None:
        self.daemon = Daemon()
        self.told: list[DomainError | None] = []
        driver: Any = self.daemon
        self.events: list[VmEvent] = []
        config = HypervisorConfig("hv", "test:///default")
        self.control = Control(config, driver, FakeClock(), self.told.append, self.events.append)
        self.task = asyncio.create_task(self.control.keep())


def test_stuck_workers_degrade_a_hypervisor_that_answers() -> None:
    async def scenario() -> None:
        watched = Watched()
        await asyncio.sleep(1)
        assert watched.control.health is Health.UP
        watched.daemon.workers.clear()
        await asyncio.sleep(15)
        assert watched.control.health is Health.DEGRADED
        assert [error.reason if error else "" for error in watched.told] == ["", "HYPERVISOR_DEGRADED"]
        await asyncio.sleep(60)
        assert watched.daemon.most == 1  # a stuck call is not asked after by another one on the same connection
        watched.daemon.workers.set()
        await asyncio.sleep(1)
        assert watched.control.health is Health.UP
        assert len(watched.daemon.opened) == 1
        watched.task.cancel()

    run(scenario())


def test_p6_one_that_is_down_is_tried_at_growing_distances_until_it_is_back() -> None:
    async def scenario() -> None:
        watched = Watched()
        await asyncio.sleep(1)
        watched.daemon.reachable = watched.daemon.answers = False
        await asyncio.sleep(300)
        assert watched.control.health is Health.DOWN
        attempts = watched.daemon.opened[1:]
        assert 10 < len(attempts) < 30
        assert max(later - sooner for sooner, later in itertools.pairwise(attempts)) <= 30
        watched.daemon.reachable = watched.daemon.answers = True
        await asyncio.sleep(31)
        assert watched.control.health is Health.UP
        assert watched.told[-1] is None
        watched.task.cancel()

    run(scenario())


def test_after_a_connection_was_lost_every_vm_is_told_and_those_that_went() -> None:
    async def scenario() -> None:
        watched = Watched()
        watched.daemon.vms = [VmSeen("a", "1", "RUNNING"), VmSeen("b", "2", "RUNNING")]
        await asyncio.sleep(1)
        watched.daemon.answers = False
        await asyncio.sleep(6)
        watched.events.clear()
        watched.daemon.vms = [VmSeen("b", "2", "SHUT_OFF"), VmSeen("c", "3", "PAUSED")]
        watched.daemon.answers = True
        await asyncio.sleep(30)
        told = [(event.type, event.vm.name, event.vm.state) for event in watched.events if event.vm is not None]
        assert told == [
            (VmEventType.GONE, "a", "RUNNING"),
            (VmEventType.STATE, "b", "SHUT_OFF"),
            (VmEventType.STATE, "c", "PAUSED"),
        ]
        assert watched.events[0].health is Health.UP
        watched.task.cancel()

    run(scenario())
