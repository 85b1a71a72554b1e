"""Metrics of pools and leases, after the semantic conventions for client connection pools where those have a name.

Counts are read from the pools when they are collected; only times are recorded as they happen. The labels are names of
configured hypervisors and words from short lists.
"""

from collections.abc import Callable, Iterable, Iterator

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from virtlease_pool.core import Mode, Observer, Stats
from virtlease_pool.errors import LeaseExpired, LeaseKilled, LeaseReleased
from virtlease_pool.hypervisors import Hypervisor, Hypervisors
from virtlease_pool.leases import Lease, LeaseTable

_POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_OUTCOMES: dict[type[Exception], str] = {LeaseReleased: "released", LeaseExpired: "expired", LeaseKilled: "killed"}

Read = Callable[[Stats], Iterable[tuple[float, dict[str, str]]]]


class PoolTimes:
    """The histograms, and an observer of them for each pool."""

    def __init__(self, meter: Meter) -> None:
        def histogram(name: str, description: str) -> Histogram:
            return meter.create_histogram(
                f"db.client.connection.{name}",
                unit="s",
                description=description,
                explicit_bucket_boundaries_advisory=_BUCKETS,
            )

        self._wait = histogram("wait_time", "How long it took to obtain a connection from the pool.")
        self._use = histogram("use_time", "How long a connection was out.")
        self._create = histogram("create_time", "How long it took to open a connection.")

    def of(self, hypervisor: str) -> Observer:
        """What a pool is to tell its times."""
        labels = {_POOL: hypervisor}
        times = self

        class Times(Observer):
            def waited(self, seconds: float) -> None:
                times._wait.record(seconds, labels)

            def used(self, seconds: float) -> None:
                times._use.record(seconds, labels)

            def created(self, seconds: float) -> None:
                times._create.record(seconds, labels)

        return Times()


def observe(meter: Meter, hypervisors: Hypervisors, leases: LeaseTable) -> None:
    """Registers everything that is read when it is collected, and counts leases by what became of them."""

    def each(
        read: Callable[[Hypervisor, Stats], Iterable[tuple[float, dict[str, str]]]],
    ) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def collect(_options: CallbackOptions) -> Iterator[Observation]:
            for hypervisor in hypervisors:
                for value, labels in read(hypervisor, hypervisor.pool.stats()):
                    yield Observation(value, {_POOL: hypervisor.name, **labels})

        return collect

    def gauge(name: str, unit: str, description: str, read: Callable[[Hypervisor, Stats], float]) -> None:
        meter.create_observable_gauge(name, [each(lambda h, s: [(read(h, s), {})])], unit, description)

    def total(name: str, unit: str, description: str, read: Callable[[Hypervisor, Stats], float]) -> None:
        meter.create_observable_counter(name, [each(lambda h, s: [(read(h, s), {})])], unit, description)

    meter.create_observable_up_down_counter(
        "db.client.connection.count",
        [each(lambda _, stats: _by_state(stats))],
        "{connection}",
        "Connections by state.",
    )
    gauge("db.client.connection.max", "{connection}", "The cap on connections.", lambda h, _: h.config.max_size)
    gauge("db.client.connection.pending_requests", "{request}", "Callers that wait.", lambda _, stats: stats.waiting)
    total("db.client.connection.timeouts", "{timeout}", "Callers that waited in vain.", lambda _, stats: stats.timeouts)
    gauge(
        "virtlease.pool.slots",
        "{slot}",
        "Slots of the hypervisor that this replica has.",
        lambda h, _: hypervisors.slots.held(h.name),
    )
    gauge("virtlease.pool.oldest_wait", "s", "How long the first in line has waited.", lambda _, s: s.oldest_wait)
    gauge("virtlease.pool.failing", "1", "1 while callers are refused.", lambda _, stats: int(stats.failing))
    gauge("virtlease.pool.paused", "1", "1 while it is paused or draining.", lambda _, s: s.mode is not Mode.ACTIVE)
    gauge("virtlease.pool.calls", "{call}", "Calls in the hypervisor now.", lambda h, _: h.in_flight.running)
    total("virtlease.pool.connect_failures", "{attempt}", "Attempts that failed.", lambda _, s: s.connect_failures)
    total("virtlease.pool.refused", "{request}", "Callers that were told no.", lambda _, stats: stats.refused)
    meter.create_observable_counter(
        "virtlease.pool.closed",
        [each(lambda _, stats: [(count, {"reason": reason}) for reason, count in stats.closed.items()])],
        "{connection}",
        "Connections closed, by reason.",
    )
    meter.create_observable_gauge(
        "virtlease.leases.active", [lambda _options: [Observation(len(leases))]], "{lease}", "Leases that are held."
    )
    ended = meter.create_counter("virtlease.leases.ended", "{lease}", "Leases, by what became of them.")

    def count(lease: Lease, error: Exception) -> None:
        outcome = _OUTCOMES.get(type(error), "lost")
        ended.add(1, {_POOL: lease.terms.hypervisor, "outcome": outcome})

    leases.on_end.append(count)


def _by_state(stats: Stats) -> Iterator[tuple[float, dict[str, str]]]:
    yield stats.idle, {_STATE: "idle"}
    yield stats.leased, {_STATE: "used"}
    yield stats.reserved, {_STATE: "reserved"}
    yield stats.closing, {_STATE: "closing"}
