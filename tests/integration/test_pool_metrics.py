"""The pool's metrics, collected from real pools."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from virtlease_chassis.clock import SystemClock
from virtlease_pool.core import Policy
from virtlease_pool.driver import LibvirtDriver
from virtlease_pool.hypervisors import open_hypervisors
from virtlease_pool.leases import LeaseTable
from virtlease_pool.leases.lease import Terms
from virtlease_pool.metrics import PoolTimes, observe
from virtlease_pool.model import HypervisorConfig

POOL = "db.client.connection.pool.name"
STATE = "db.client.connection.state"


async def test_figures_are_named_after_the_conventions_and_labelled_by_hypervisor() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("test")
    configs = [HypervisorConfig("local", "test:///default", max_size=3)]
    clock = SystemClock()
    async with open_hypervisors(lambda: configs, LibvirtDriver(), Policy(), clock, PoolTimes(meter).of) as hypervisors:
        leases = LeaseTable(clock)
        observe(meter, hypervisors, leases)
        pool = hypervisors["local"].pool
        terms = Terms("acme/alice", "local", "", 15, "h" * 16)
        first, _ = leases.grant(terms, await pool.acquire(5)), leases.grant(terms, await pool.acquire(5))
        leases.release("acme/alice", first.lease_id, discard=False)
        found = {}
        data = reader.get_metrics_data()
        assert data is not None
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                labels = dict(point.attributes or {})
                key = (metric.name, labels.get(STATE) or labels.get("outcome") or labels.get("reason") or "")
                found[key] = getattr(point, "value", None) if hasattr(point, "value") else point.count
                assert set(labels) <= {POOL, STATE, "outcome", "reason"}
        leases.release_all()
    assert found["db.client.connection.count", "idle"] == 1
    assert found["db.client.connection.count", "used"] == 1
    assert found["db.client.connection.max", ""] == 3
    assert found["db.client.connection.pending_requests", ""] == 0
    assert found["db.client.connection.timeouts", ""] == 0
    assert found["db.client.connection.wait_time", ""] == 2
    assert found["db.client.connection.use_time", ""] == 1
    assert found["db.client.connection.create_time", ""] == 2
    assert found["virtlease.leases.ended", "released"] == 1
    assert found["virtlease.leases.active", ""] == 1
    assert found["virtlease.pool.failing", ""] == 0
