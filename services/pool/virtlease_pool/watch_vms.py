"""WatchVms: what happens to VMs on all hypervisors."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

from virtlease.pool.v1 import vm_watch_pb2 as pb
from virtlease_chassis.errors import DomainError, InvalidArgument
from virtlease_pool import convert, watching
from virtlease_pool.event_log import EventLog
from virtlease_pool.hypervisors import Hypervisor, Hypervisors
from virtlease_pool.model import Health, VmEvent, VmEventType, VmRef

# What one hypervisor is given to tell the states of its VMs when a watch begins.
_STATES_SECONDS = 5.0
_MOST_IN_A_MESSAGE = 500


async def watch_vms(
    hypervisors: Hypervisors, log: EventLog[VmEvent], request: pb.WatchVmsRequest
) -> AsyncIterator[pb.WatchVmsResponse]:
    """The stream of one watch. Raises HypervisorNotFound, InvalidArgument, Compacted and ShuttingDown."""
    wanted = _Wanted(hypervisors, request)
    cursor = log.cursor(request.resume_token)

    def translate(event: VmEvent) -> pb.VmEvent | None:
        return convert.to_vm_event(event) if wanted.has(event) else None

    responses = watching.watch(cursor, request, pb.WatchVmsResponse, translate)
    yield await anext(responses)
    if request.include_initial_state:
        # The token came first: what happens while the states are read is told after them.
        found = [message for event in await _states(wanted.hypervisors) if (message := translate(event)) is not None]
        for start in range(0, len(found), _MOST_IN_A_MESSAGE):
            yield pb.WatchVmsResponse(events=found[start : start + _MOST_IN_A_MESSAGE], resume_token=cursor.token)
    async for response in responses:
        yield response


class _Wanted:
    """What a watcher asked for."""

    def __init__(self, hypervisors: Hypervisors, request: pb.WatchVmsRequest) -> None:
        self._names = {hypervisors[name].name for name in request.hypervisors}
        self._vms = set(self._refs(request))
        self.hypervisors = [each for each in hypervisors if not self._names or each.name in self._names]

    def has(self, event: VmEvent) -> bool:
        """Whether an event is to be told."""
        if self._names and event.hypervisor not in self._names:
            return False
        if not self._vms:
            return True
        if event.vm is None:
            return any(hypervisor == event.hypervisor for hypervisor, _ in self._vms)
        return any((event.hypervisor, name) in self._vms for name in (event.vm.name, event.vm.uuid))

    @staticmethod
    def _refs(request: pb.WatchVmsRequest) -> Iterator[tuple[str, str]]:
        for vm_id in request.vm_ids:
            ref = VmRef.parse(vm_id)
            if not ref.hypervisor or not ref.name:
                raise InvalidArgument("vm_ids", "expected hypervisor/name")
            yield ref.hypervisor, ref.name


async def _states(hypervisors: list[Hypervisor]) -> list[VmEvent]:
    answers = await asyncio.gather(*(_states_of(each) for each in hypervisors))
    return [event for answer in answers for event in answer]


async def _states_of(hypervisor: Hypervisor) -> list[VmEvent]:
    """A STATE event for each VM; one that tells the health of a hypervisor that does not answer."""
    now = time.time_ns() // 1_000_000
    try:
        async with asyncio.timeout(_STATES_SECONDS):
            vms = await hypervisor.control.run(hypervisor.driver.states)
    except (DomainError, TimeoutError):
        health = Health.DOWN if hypervisor.control.health is Health.UP else hypervisor.control.health
        return [VmEvent(VmEventType.HYPERVISOR, now, hypervisor.name, health=health, detail=hypervisor.control.reason)]
    return [VmEvent(VmEventType.STATE, now, hypervisor.name, vm) for vm in vms]
