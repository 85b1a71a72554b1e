"""The hypervisors of this service, each with its pool and its control connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import DomainError
from virtlease_pool.control import Control
from virtlease_pool.core import Policy, Pool, maintain
from virtlease_pool.errors import HypervisorNotFound
from virtlease_pool.event_log import EventLog
from virtlease_pool.in_flight import InFlight
from virtlease_pool.model import HypervisorConfig, VmEvent
from virtlease_pool.ports import Connection, Driver

# How long the start waits for hypervisors to answer, so that the first calls find them. One that is down or slow is
# tried on in the background.
_START_SECONDS = 3.0


class DriverConnector:
    """See `core.Connector`: connections to one hypervisor by a driver."""

    def __init__(self, config: HypervisorConfig, driver: Driver) -> None:
        self._config = config
        self._driver = driver

    async def open(self) -> Connection:
        return await self._driver.open(self._config)

    def fault(self, connection: Connection) -> str:
        return connection.fault

    async def check(self, connection: Connection) -> bool:
        return await connection.alive()

    async def close(self, connection: Connection) -> None:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """A hypervisor and what this service has of it."""

    config: HypervisorConfig
    pool: Pool[Connection]
    control: Control
    in_flight: InFlight
    driver: Driver

    @property
    def name(self) -> str:
        return self.config.name


class Hypervisors:
    """All hypervisors by name."""

    def __init__(self, hypervisors: Mapping[str, Hypervisor], vm_events: EventLog[VmEvent]) -> None:
        self._hypervisors = hypervisors
        self.vm_events = vm_events

    def __getitem__(self, name: str) -> Hypervisor:
        """Raises HypervisorNotFound."""
        try:
            return self._hypervisors[name]
        except KeyError:
            raise HypervisorNotFound(name) from None

    def __iter__(self) -> Iterator[Hypervisor]:
        return iter(self._hypervisors.values())

    def __len__(self) -> int:
        return len(self._hypervisors)

    def selected(self, name: str) -> Sequence[Hypervisor]:
        """The one of this name, or all for an empty one. Raises HypervisorNotFound."""
        return [self[name]] if name else list(self)


@contextlib.asynccontextmanager
async def open_hypervisors(
    configs: Sequence[HypervisorConfig], driver: Driver, policy: Policy, clock: Clock
) -> AsyncIterator[Hypervisors]:
    """Opens the control connections, and pools that open their own when they are first asked."""
    vm_events: EventLog[VmEvent] = EventLog()
    hypervisors = {
        config.name: _hypervisor(config, driver, policy, clock, vm_events)
        for config in sorted(configs, key=lambda config: config.name)
    }
    tasks = [asyncio.create_task(hypervisor.control.keep()) for hypervisor in hypervisors.values()]
    tasks.append(asyncio.create_task(maintain(lambda: (hypervisor.pool for hypervisor in hypervisors.values()))))
    waiting = [asyncio.create_task(hypervisor.control.tried.wait()) for hypervisor in hypervisors.values()]
    try:
        await asyncio.wait(waiting, timeout=_START_SECONDS)
        yield Hypervisors(hypervisors, vm_events)
    finally:
        for task in (*tasks, *waiting):
            task.cancel()
        await asyncio.gather(*tasks, *waiting, return_exceptions=True)
        # Pools before control connections: the test driver's state lives as long as one is open.
        await _within(_START_SECONDS, *(hypervisor.pool.close() for hypervisor in hypervisors.values()))
        await _within(_START_SECONDS, *(hypervisor.control.close() for hypervisor in hypervisors.values()))


def _hypervisor(
    config: HypervisorConfig, driver: Driver, policy: Policy, clock: Clock, vm_events: EventLog[VmEvent]
) -> Hypervisor:
    pool = Pool(config.name, DriverConnector(config, driver), replace(policy, max_size=config.max_size))

    def follow(error: DomainError | None) -> None:
        if error is None:
            pool.recover()
        else:
            pool.trip(error)

    in_flight = InFlight(config.name, config.max_in_flight)
    control = Control(config, driver, clock, follow, vm_events.append)
    return Hypervisor(config, pool, control, in_flight, driver)


async def _within(seconds: float, *work: Coroutine[Any, Any, None]) -> None:
    """Does what can be done in the time; a call that hangs in libvirt keeps its thread and is left behind."""
    tasks = [asyncio.create_task(each) for each in work]
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
