"""The control connection: one to each hypervisor, beside the pool, open for as long as the service runs.

It tells whether the hypervisor is there and can work, follows and aborts long operations of other connections, and
keeps the state of libvirt's test driver, which is thrown away when the last connection to it closes. Callers never
get it.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any, TypeVar

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import DomainError
from virtlease_pool.errors import HypervisorDegraded, HypervisorUnavailable, UnsupportedByHypervisor
from virtlease_pool.model import Health, HostFacts, HypervisorConfig, VmEvent, VmEventType, VmSeen
from virtlease_pool.ports import Connection, Driver

T = TypeVar("T")
log = logging.getLogger(__name__)

_CHECK_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 30.0


class Control:
    """Keeps one connection open, and knows what came of it."""

    def __init__(
        self,
        config: HypervisorConfig,
        driver: Driver,
        clock: Clock,
        tell: Callable[[DomainError | None], None],
        report: Callable[[VmEvent], None] = lambda _event: None,
    ) -> None:
        """
        Args:
            config: the hypervisor.
            driver: opens the connection.
            clock: says when.
            tell: called when the health changes: with why the hypervisor cannot be worked with, or with None.
            report: called with what happens to the hypervisor and its VMs.
        """
        self._report = report
        self._vms: dict[str, VmSeen] = {}
        self._config = config
        self._tell = tell
        self._driver = driver
        self._clock = clock
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self.health = Health.UNKNOWN
        self.reason = ""
        self.checked_at = 0
        """The wall clock in ms."""
        self.facts: HostFacts | None = None
        self.tried = asyncio.Event()
        """Set once the first attempt to connect has succeeded or failed."""

    async def keep(self) -> None:
        """Connects, checks, and connects anew when that fails. Runs until it is cancelled."""
        retry = _FIRST_RETRY_SECONDS
        while True:
            try:
                await self._watch()
            except DomainError as error:
                self._found(Health.DOWN, error)
            self.tried.set()
            # Jitter, so that many services do not come back to a hypervisor in the same moment.
            await asyncio.sleep(retry * random.uniform(0.5, 1.0))
            retry = _FIRST_RETRY_SECONDS if self.health is Health.UP else min(retry * 2, _LAST_RETRY_SECONDS)

    async def run(self, call: Callable[[Any], T]) -> T:
        """Runs a short call beside the pool, one after the other. Raises HypervisorUnavailable without a connection."""
        async with self._turn:
            if self._connection is None:
                raise HypervisorUnavailable(self._config.name, "it is not connected")
            return await self._connection.run(call)

    async def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def _watch(self) -> None:
        """Connects, and returns when the connection no longer answers. Raises DomainError when it cannot connect."""
        self._connection = None
        connection = self._connection = await self._driver.open(self._config)
        self.facts = await self.run(self._driver.facts)
        await self._work()  # the first time it takes long
        self._found(Health.UP)
        await connection.watch(self._happened)
        await self._compare()
        self.tried.set()
        while await self._answers(connection):
            await asyncio.sleep(_CHECK_SECONDS)
        self._found(Health.DOWN, HypervisorUnavailable(self._config.name, "the connection was lost"))
        await connection.close()

    def _happened(self, event: VmEvent) -> None:
        if event.vm is not None:
            if event.type is VmEventType.UNDEFINED:
                self._vms.pop(event.vm.uuid, None)
            else:
                self._vms[event.vm.uuid] = event.vm
        self._report(event)

    async def _compare(self) -> None:
        """Tells the state of every VM, and which have gone: what happened without a connection was not seen."""
        vms = {vm.uuid: vm for vm in await self.run(self._driver.states)}
        now = self._clock.wall()
        for uuid in self._vms.keys() - vms.keys():
            self._report(VmEvent(VmEventType.GONE, now, self._config.name, self._vms[uuid]))
        for vm in vms.values():
            self._report(VmEvent(VmEventType.STATE, now, self._config.name, vm))
        self._vms = vms

    async def _answers(self, connection: Connection) -> bool:
        """Whether the daemon answers; and whether its workers do, which is another question.

        Twenty calls stuck on one VM keep every worker of libvirtd busy, and then no VM of the hypervisor can be worked
        with, while a call that needs no worker is answered as ever.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                async with self._turn:
                    if not await connection.alive():
                        return False
        except TimeoutError:
            return False
        work = asyncio.create_task(self._work())
        await asyncio.wait((work,), timeout=_ANSWER_SECONDS)
        if not work.done():
            self._found(Health.DEGRADED, HypervisorDegraded(self._config.name))
        try:
            await work  # however long it takes: there is one call on a connection at a time
        except HypervisorUnavailable:
            return False
        self._found(Health.UP)
        return True

    async def _work(self) -> None:
        with contextlib.suppress(UnsupportedByHypervisor):
            await self.run(self._driver.work)

    def _found(self, health: Health, error: DomainError | None = None) -> None:
        self.checked_at = self._clock.wall()
        self.reason = error.message if error else ""
        if health is self.health:
            return
        self.health = health
        level = logging.WARNING if error else logging.INFO
        log.log(level, "hypervisor %s is %s%s", self._config.name, health.value, f": {self.reason}" if error else "")
        self._tell(error)
        self._report(
            VmEvent(VmEventType.HYPERVISOR, self.checked_at, self._config.name, detail=self.reason, health=health)
        )
