"""Between messages and the model of leases, pools and hypervisors."""

from google.protobuf.duration_pb2 import Duration

from virtlease.pool.v1 import hypervisor_pb2, lease_pb2, operate_pb2, vm_pb2, vm_watch_pb2
from virtlease_chassis.wire import duration, milliseconds, timestamp
from virtlease_pool.core import Mode, Stats
from virtlease_pool.hypervisors import Hypervisor
from virtlease_pool.leases import Lease
from virtlease_pool.model import Health, PoolEvent, VmEvent

_HEALTH = {
    Health.UNKNOWN: hypervisor_pb2.HYPERVISOR_HEALTH_UNSPECIFIED,
    Health.UP: hypervisor_pb2.HYPERVISOR_HEALTH_UP,
    Health.DEGRADED: hypervisor_pb2.HYPERVISOR_HEALTH_DEGRADED,
    Health.DOWN: hypervisor_pb2.HYPERVISOR_HEALTH_DOWN,
}

_MODE = {
    Mode.ACTIVE: hypervisor_pb2.POOL_MODE_ACTIVE,
    Mode.PAUSED: hypervisor_pb2.POOL_MODE_PAUSED,
    Mode.DRAINING: hypervisor_pb2.POOL_MODE_DRAINING,
}


def seconds(value: Duration) -> float:
    """A length of time in seconds."""
    return milliseconds(value) / 1000


def to_duration(value: float) -> Duration:
    """A length of time in seconds, as a message."""
    return duration(round(value * 1000))


def to_lease(lease: Lease, now: int, address: str = "") -> lease_pb2.Lease:
    """A lease as its holder sees it. `now` is the wall clock in ms, `address` where its replica is reached."""
    return lease_pb2.Lease(
        lease_id=lease.lease_id,
        lease_ref=lease.ref,
        hypervisor=lease.terms.hypervisor,
        vm_id=lease.terms.vm_id,
        ttl=to_duration(lease.ttl),
        acquire_time=timestamp(lease.acquired_at),
        expire_time=timestamp(now + round(lease.seconds_left * 1000)),
        owner_address=address,
    )


def to_hypervisor(hypervisor: Hypervisor) -> hypervisor_pb2.Hypervisor:
    """A hypervisor as everybody sees it."""
    config, control = hypervisor.config, hypervisor.control
    message = hypervisor_pb2.Hypervisor(
        name=config.name,
        uri=config.uri,
        labels=config.labels,
        health=_HEALTH[control.health],
        health_reason=control.reason,
        mode=_MODE[hypervisor.pool.stats().mode],
        max_size=config.max_size,
        max_in_flight=config.max_in_flight,
    )
    if control.checked_at:
        message.check_time.CopyFrom(timestamp(control.checked_at))
    if facts := control.facts:
        message.driver = facts.driver
        message.hostname = facts.hostname
        message.libvirt_version = facts.libvirt_version
        message.hypervisor_version = facts.hypervisor_version
    return message


def to_lease_info(lease: Lease, now: int, replica: str) -> lease_pb2.LeaseInfo:
    """A lease as operators see it. `now` is the wall clock in ms."""
    info = lease_pb2.LeaseInfo(
        lease_ref=lease.ref,
        hypervisor=lease.terms.hypervisor,
        vm_id=lease.terms.vm_id,
        owner=lease.terms.owner,
        purpose=lease.terms.purpose or lease.holder.purpose,
        holder_ref=lease.holder.ref,
        peer=lease.terms.peer,
        replica=replica,
        acquire_time=timestamp(lease.acquired_at),
        expire_time=timestamp(now + round(lease.seconds_left * 1000)),
        calls=lease.calls_made,
        running_call=lease.running,
        trace_id=lease.terms.trace_id,
    )
    if lease.used_at:
        info.last_use_time.CopyFrom(timestamp(now - round(lease.idle_seconds * 1000)))
    return info


def to_pool_event(event: PoolEvent, hypervisor: Hypervisor | None) -> operate_pb2.PoolEvent:
    """An event as watchers see it, with its pool as that is now."""
    return operate_pb2.PoolEvent(
        type=operate_pb2.PoolEventType.Value(f"POOL_EVENT_TYPE_{event.type.value}"),
        time=timestamp(event.at),
        hypervisor=event.hypervisor,
        lease_ref=event.lease_ref,
        detail=event.detail,
        pool=to_pool_stats(hypervisor, hypervisor.pool.stats()) if hypervisor is not None else None,
    )


def to_vm_event(event: VmEvent) -> vm_watch_pb2.VmEvent:
    """An event as watchers see it."""
    message = vm_watch_pb2.VmEvent(
        type=vm_watch_pb2.VmEventType.Value(f"VM_EVENT_TYPE_{event.type.value}"),
        time=timestamp(event.at),
        hypervisor=event.hypervisor,
        detail=event.detail,
    )
    if event.vm is not None:
        message.vm.vm_id = f"{event.hypervisor}/{event.vm.name}"
        message.vm.hypervisor = event.hypervisor
        message.vm.name = event.vm.name
        message.vm.uuid = event.vm.uuid
        if event.vm.state:
            message.vm.state = vm_pb2.VmState.Value(f"VM_STATE_{event.vm.state}")
    if event.health is not None:
        message.health = _HEALTH[event.health]
    return message


def to_pool_stats(hypervisor: Hypervisor, stats: Stats) -> hypervisor_pb2.PoolStats:
    """The figures of one pool."""
    return hypervisor_pb2.PoolStats(
        hypervisor=hypervisor.name,
        mode=_MODE[stats.mode],
        max_size=hypervisor.config.max_size,
        idle=stats.idle,
        leased=stats.leased,
        reserved=stats.reserved,
        closing=stats.closing,
        waiting=stats.waiting,
        oldest_wait=to_duration(stats.oldest_wait),
        acquired=stats.acquired,
        timeouts=stats.timeouts,
        opened=stats.opened,
        closed=stats.closed,
        connect_failures=stats.connect_failures,
        generation=stats.generation,
        in_flight=hypervisor.in_flight.running,
    )
