"""The hypervisors of this service, each with its pool and its control connection."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import DomainError
from virtlease_pool.control import Control
from virtlease_pool.core import Observer, Policy, Pool, maintain
from virtlease_pool.errors import HypervisorNotFound
from virtlease_pool.event_log import EventLog
from virtlease_pool.in_flight import InFlight
from virtlease_pool.model import HypervisorConfig, PoolEvent, PoolEventType, VmEvent
from virtlease_pool.ports import Connection, Driver
from virtlease_pool.slots import ClaimingConnector, LocalSlots, Slots

# How long the start waits for hypervisors to answer, so that the first calls find them. One that is down or slow is
# tried on in the background.
_START_SECONDS = 3.0

_POOL_EVENTS = {
    "opened": PoolEventType.CONNECTION_OPENED,
    "closed": PoolEventType.CONNECTION_CLOSED,
    "failing": PoolEventType.HEALTH_CHANGED,
    "working": PoolEventType.HEALTH_CHANGED,
    "mode": PoolEventType.MODE_CHANGED,
}
log = logging.getLogger(__name__)


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


@dataclass(slots=True)
class Hypervisor:
    """A hypervisor and what this service has of it."""

    config: HypervisorConfig
    pool: Pool[Connection]
    control: Control
    in_flight: InFlight
    driver: Driver
    task: asyncio.Task[None]
    """Keeps the control connection."""

    @property
    def name(self) -> str:
        return self.config.name

    async def close(self) -> None:
        """Closes the pool, once its loans have come back, then the control connection.

        In this order: the test driver's state lives as long as one connection is open.
        """
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.pool.close()
        await self.control.close()


class Hypervisors:
    """All hypervisors by name. They can change while the service runs."""

    def __init__(
        self, driver: Driver, policy: Policy, clock: Clock, observer: Callable[[str], Observer], slots: Slots
    ) -> None:
        """`observer` makes what is told the times of one hypervisor's pool."""
        self._driver = driver
        self._policy = policy
        self._clock = clock
        self._observer = observer
        self.slots = slots
        self._hypervisors: dict[str, Hypervisor] = {}
        self._retired: dict[str, Hypervisor] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.vm_events: EventLog[VmEvent] = EventLog()
        self.pool_events: EventLog[PoolEvent] = EventLog()

    def __getitem__(self, name: str) -> Hypervisor:
        """Raises HypervisorNotFound."""
        try:
            return self._hypervisors[name]
        except KeyError:
            raise HypervisorNotFound(name) from None

    def __iter__(self) -> Iterator[Hypervisor]:
        return iter(list(self._hypervisors.values()))

    def __len__(self) -> int:
        return len(self._hypervisors)

    def get(self, name: str) -> Hypervisor | None:
        """The one of this name, if there is one."""
        return self._hypervisors.get(name)

    def leased(self, name: str) -> Hypervisor:
        """The same, also for one that was taken off the list and still has leases. Raises HypervisorNotFound."""
        return self._hypervisors.get(name) or self._retired.get(name) or self[name]

    def selected(self, name: str) -> Sequence[Hypervisor]:
        """The one of this name, or all for an empty one. Raises HypervisorNotFound."""
        return [self[name]] if name else list(self)

    def tell(self, kind: PoolEventType, hypervisor: str, detail: str = "", lease_ref: str = "") -> None:
        """Adds to what WatchPool tells."""
        self.pool_events.append(PoolEvent(kind, self._clock.wall(), hypervisor, lease_ref, detail))

    def apply(self, configs: Sequence[HypervisorConfig]) -> None:
        """Makes these the hypervisors. Those that stay keep their connections; those that go let leases finish."""
        wanted = {config.name: config for config in sorted(configs, key=lambda config: config.name)}
        for name, hypervisor in list(self._hypervisors.items()):
            config = wanted.get(name)
            if config is None or not config.leads_where(hypervisor.config):
                self._retire(self._hypervisors.pop(name))
        for name, config in wanted.items():
            if (known := self._hypervisors.get(name)) is None:
                self._hypervisors[name] = self._make(config)
            elif known.config != config:
                known.config = config
                known.pool.change_policy(self._policy_of(config))
                known.in_flight.on_host = config.max_in_flight
        self._hypervisors = {name: self._hypervisors[name] for name in wanted}

    async def tried(self, seconds: float) -> None:
        """Waits until all have answered or failed to, for so long at most."""
        waiting = [asyncio.create_task(hypervisor.control.tried.wait()) for hypervisor in self]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)
        for task in waiting:
            task.cancel()

    async def close(self) -> None:
        """Closes all; what hangs in libvirt keeps its thread and is left behind."""
        await _within(_START_SECONDS, *(hypervisor.close() for hypervisor in self), *map(_finished, self._closing))

    def _make(self, config: HypervisorConfig) -> Hypervisor:
        def tell(event: str, detail: str) -> None:
            self.tell(_POOL_EVENTS[event], config.name, detail or event)

        def cap() -> int:
            known = self._hypervisors.get(config.name)
            return (known.config if known else config).max_size

        pool = Pool(
            config.name,
            ClaimingConnector(DriverConnector(config, self._driver), self.slots, config.name, cap),
            self._policy_of(config),
            tell,
            self._observer(config.name),
        )

        def follow(error: DomainError | None) -> None:
            if error is None:
                pool.recover()
            else:
                pool.trip(error)
            self.tell(PoolEventType.HEALTH_CHANGED, config.name, error.message if error else "it is up")

        control = Control(config, self._driver, self._clock, follow, self.vm_events.append)
        in_flight = InFlight(config.name, config.max_in_flight)
        return Hypervisor(config, pool, control, in_flight, self._driver, asyncio.create_task(control.keep()))

    def _policy_of(self, config: HypervisorConfig) -> Policy:
        return replace(self._policy, max_size=config.max_size)

    def _retire(self, hypervisor: Hypervisor) -> None:
        hypervisor.pool.drain()
        self._retired[hypervisor.name] = hypervisor
        task = asyncio.create_task(self._close_when_free(hypervisor))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_when_free(self, hypervisor: Hypervisor) -> None:
        while hypervisor.pool.stats().leased:
            await asyncio.sleep(0.5)
        await hypervisor.close()
        if self._retired.get(hypervisor.name) is hypervisor:
            del self._retired[hypervisor.name]


@contextlib.asynccontextmanager
async def open_hypervisors(
    configs: Callable[[], Sequence[HypervisorConfig]],
    driver: Driver,
    policy: Policy,
    clock: Clock,
    observer: Callable[[str], Observer] = lambda _name: Observer(),
    slots: Slots | None = None,
) -> AsyncIterator[Hypervisors]:
    """Opens the control connections, and pools that open their own when they are first asked.

    `configs` is asked again every second; another answer is put into effect.
    """
    hypervisors = Hypervisors(driver, policy, clock, observer, slots or LocalSlots())
    hypervisors.apply(configs())
    tasks = [
        asyncio.create_task(maintain(lambda: (hypervisor.pool for hypervisor in hypervisors))),
        asyncio.create_task(_reload(hypervisors, configs)),
    ]
    try:
        await hypervisors.tried(_START_SECONDS)
        yield hypervisors
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await hypervisors.close()


async def _reload(hypervisors: Hypervisors, configs: Callable[[], Sequence[HypervisorConfig]]) -> None:
    last = configs()
    while True:
        await asyncio.sleep(1)
        if (found := configs()) is not last:
            last = found
            hypervisors.apply(found)
            names = ", ".join(config.name for config in found)
            log.info("the hypervisors are now %s", names)
            hypervisors.tell(PoolEventType.HYPERVISORS_RELOADED, "", names)


async def _finished(task: "asyncio.Task[None]") -> None:
    await asyncio.wait((task,))


async def _within(seconds: float, *work: Coroutine[Any, Any, None]) -> None:
    """Does what can be done in the time; a call that hangs in libvirt keeps its thread and is left behind."""
    tasks = [asyncio.create_task(each) for each in work]
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
