"""The composition root: opens everything in order, and closes it in reverse."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from virtlease.pool.v1 import pool_service_pb2, vm_service_pb2
from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.clock import SystemClock
from virtlease_chassis.identity import Authenticator
from virtlease_chassis.process import Process
from virtlease_chassis.rpc import GrpcServer, Listen, Service
from virtlease_chassis.rpc.channel import ChannelOptions, open_channel
from virtlease_pool.acquire import Acquire
from virtlease_pool.driver import LibvirtDriver
from virtlease_pool.errors import LeaseExpired, LeaseKilled, OutcomeUnknown
from virtlease_pool.hold import Hold
from virtlease_pool.hypervisors import Hypervisors, open_hypervisors
from virtlease_pool.lease_calls import LeaseCalls
from virtlease_pool.leases import Lease, LeaseTable
from virtlease_pool.metrics import PoolTimes, observe
from virtlease_pool.model import PoolEventType
from virtlease_pool.once import Once
from virtlease_pool.operate import Operate
from virtlease_pool.peers import Peers, parse_peers
from virtlease_pool.pool_servicer import PoolServicer
from virtlease_pool.routing import Route, Routed
from virtlease_pool.settings import PoolSettings
from virtlease_pool.slots import LocalSlots, RedisSlots, Slots
from virtlease_pool.vm_calls import VmCalls
from virtlease_pool.vm_servicer import VmServicer

POOL_SERVICE = pool_service_pb2.DESCRIPTOR.services_by_name["PoolService"]
VM_SERVICE = vm_service_pb2.DESCRIPTOR.services_by_name["VmService"]

# The scopes of RPCs that are no tools, and so have no option that says it.
_SCOPES = {
    "HoldLeases": "pool:lease",
    "WatchPool": "pool:operate",
    "KillLease": "pool:operate",
    "WatchVms": "vm:read",
    "PlanVmChange": "vm:read",
    "ResetVm": "vm:destroy",
}
_ENDS: dict[type[Exception], PoolEventType] = {
    LeaseExpired: PoolEventType.LEASE_EXPIRED,
    LeaseKilled: PoolEventType.LEASE_KILLED,
}
_SETTLE_SECONDS = 0.25
log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def pool_service(
    process: Process, authenticator: Authenticator, extra: tuple[Listen, ...] = (), *, on_network: bool = True
) -> AsyncIterator[GrpcServer]:
    """A running pool service; it is drained when the context is left.

    It listens on its own address if `on_network`, and on `extra` ones.
    """
    settings = process.settings[PoolSettings]
    listens = list(extra)
    if on_network:
        process.common.check_exposed(settings.address, settings.env_name("address"))
        listens.insert(0, Listen(settings.address, settings.env_name("address")))
    clock = SystemClock()
    tracer = process.telemetry.tracer("pool")
    meter = process.telemetry.meter
    async with contextlib.AsyncExitStack() as stack:
        slots = await stack.enter_async_context(open_slots(settings))
        hypervisors = await stack.enter_async_context(
            open_hypervisors(
                settings.hypervisors(), LibvirtDriver(), settings.policy, clock, PoolTimes(meter).of, slots
            )
        )
        leases = LeaseTable(clock, settings.replica_name)
        _tell_of_leases(leases, hypervisors)
        observe(meter, hypervisors, leases)
        stack.callback(leases.release_all)
        once = Once(clock, keep=lambda error: isinstance(error, OutcomeUnknown))
        stack.callback(asyncio.create_task(once.forget()).cancel)
        acquire = Acquire(hypervisors, leases, settings.acquire_timeout)
        vm_calls = VmCalls(hypervisors, leases, acquire, once, tracer)
        peers = await stack.enter_async_context(_open_peers(process, hypervisors))
        lease_calls = LeaseCalls(hypervisors, leases, acquire, clock, settings.lease_ttl, peers.address)
        max_age = process.common.max_connection_age
        routes = {
            "acquire": Route(POOL_SERVICE.methods_by_name["AcquireLease"], peers),
            "renew": Route(POOL_SERVICE.methods_by_name["RenewLease"], peers),
            "release": Route(POOL_SERVICE.methods_by_name["ReleaseLease"], peers),
        }
        pool_servicer = PoolServicer(
            hypervisors,
            lease_calls,
            Operate(hypervisors, leases, clock, settings.replica_name),
            once,
            clock,
            lambda: Hold(lease_calls, routes, tracer, max_age),
        )
        vm_servicer = VmServicer(VM_SERVICE, vm_calls, hypervisors)
        server = GrpcServer(
            [
                Service(POOL_SERVICE, Routed(POOL_SERVICE, pool_servicer, peers), _scopes(POOL_SERVICE)),
                Service(VM_SERVICE, Routed(VM_SERVICE, vm_servicer, peers), _scopes(VM_SERVICE)),
            ],
            settings=process.common,
            authenticator=authenticator,
            tracer=tracer,
            meter=meter,
        )
        await server.start(listens)
        stack.push_async_callback(server.drain, process.common.drain_timeout)
        stack.push_async_callback(_let_leases_end, server, peers, leases, acquire, process.common.drain_timeout / 2)
        log.info("pool service on %s", ", ".join(map(str, server.addresses)))
        yield server


@contextlib.asynccontextmanager
async def _open_peers(process: Process, hypervisors: Hypervisors) -> AsyncIterator[Peers]:
    """The other replicas, whose health is followed; connections are kept for hypervisors that are this one's alone."""
    settings = process.settings[PoolSettings]

    def channel(address: str) -> grpc.aio.Channel:
        return open_channel(ChannelOptions(address, settings.peers_tls_ca))

    peers = Peers(settings.replica_name, parse_peers(settings.peers), channel, POOL_SERVICE.full_name)

    async def settle() -> None:
        while True:
            for hypervisor in hypervisors:
                hypervisor.pool.settle(here=peers.prefers_own(hypervisor.name))
            await asyncio.sleep(_SETTLE_SECONDS)

    tasks = []
    if not peers.alone:
        await peers.look()
        tasks = [asyncio.create_task(peers.keep()), asyncio.create_task(settle())]
    try:
        yield peers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await peers.close()


async def _let_leases_end(
    server: GrpcServer, peers: Peers, leases: LeaseTable, acquire: Acquire, seconds: float
) -> None:
    """Takes no new work, and serves the leases that there are until they have ended, for so long at most."""
    peers.draining = acquire.draining = True
    for service in ("", POOL_SERVICE.full_name, VM_SERVICE.full_name):
        await server.set_health(service, False)
    end = asyncio.get_running_loop().time() + seconds
    while len(leases) and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(_SETTLE_SECONDS / 4)


@contextlib.asynccontextmanager
async def open_slots(settings: PoolSettings) -> AsyncIterator[Slots]:
    """The slots that the settings ask for: shared with other replicas, or this replica's alone."""
    if (target := settings.redis) is None:
        yield LocalSlots()
        return
    replicas = max(1, len(parse_peers(settings.peers)))
    slots = RedisSlots(target, settings.redis_prefix, settings.replica_name, replicas, settings.slot_ttl)
    keeping = asyncio.create_task(slots.keep())
    try:
        yield slots
    finally:
        keeping.cancel()
        await slots.close()


def _tell_of_leases(leases: LeaseTable, hypervisors: Hypervisors) -> None:
    """What becomes of leases is told to those who watch the pools."""

    def granted(lease: Lease) -> None:
        hypervisors.tell(PoolEventType.LEASE_ACQUIRED, lease.terms.hypervisor, lease.terms.owner, lease.ref)

    def ended(lease: Lease, error: Exception) -> None:
        kind = _ENDS.get(type(error), PoolEventType.LEASE_RELEASED)
        hypervisors.tell(kind, lease.terms.hypervisor, str(error), lease.ref)

    leases.on_grant.append(granted)
    leases.on_end.append(ended)


async def serve(process: Process) -> None:
    """Runs the pool service alone until it is told to stop."""
    async with pool_service(process, Authenticator(process.common.identity_file)):
        await process.until_told_to_stop()


def _scopes(service: ServiceDescriptor) -> dict[str, str]:
    """The scope of each method."""
    return {
        method.name: method.GetOptions().Extensions[tool_pb2.tool].scope or _SCOPES[method.name]
        for method in service.methods
    }
