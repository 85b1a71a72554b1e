"""The metrics and spans of a store, whichever it is."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.session_stores import KINDS, StoreUnderTest
from support.session_verbs import Verbs

from virtlease_session.errors import SessionExpired, WrongType
from virtlease_session.model import Get, Increment, Mutation, NewSession, Set
from virtlease_session.observe import ObservedStore

ME = "acme/alice"


class Observed:
    """A store with its metrics and spans at hand."""

    def __init__(self, tested: StoreUnderTest) -> None:
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])
        self.spans = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracer = tracers.get_tracer("test")
        self.store = Verbs(ObservedStore(tested.store, "test", self.tracer, self.meters.get_meter("test")))

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == f"virtlease.session.{name}"
            for point in metric.data.data_points
        ]

    def value(self, name: str, **labels: str) -> float:
        (point,) = [each for each in self.points(name) if labels.items() <= each.attributes.items()]
        return getattr(point, "value", None) if hasattr(point, "value") else point.count


@pytest.fixture(params=KINDS)
async def tested(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    """A store of each kind; the one behind a client is measured by its server."""
    async with KINDS[request.param](tmp_path) as store:
        yield store


@pytest.fixture
def observed(tested: StoreUnderTest) -> Iterator[Observed]:
    found = Observed(tested)
    yield found
    found.meters.shutdown()


async def test_what_became_of_sessions_is_counted(observed: Observed, tested: StoreUnderTest) -> None:
    store = observed.store
    kept = await store.create(ME, NewSession())
    ended = await store.create(ME, NewSession())
    await store.end(ME, ended.session_id)
    swept, met = [await store.create(ME, NewSession(idle_ttl=2000)) for _ in range(2)]
    tested.advance(4)
    with pytest.raises(SessionExpired):
        await store.get(ME, met.session_id)
    with pytest.raises(SessionExpired):
        await store.get(ME, met.session_id)
    await tested.sweep()
    with pytest.raises(SessionExpired):
        await store.get(ME, swept.session_id)
    assert [observed.value(name) for name in ("created", "expired", "ended", "live")] == [4, 2, 1, 1]
    assert 1 <= observed.value("sweep.lag") <= 2
    assert (await store.get(ME, kept.session_id)).version == 1


async def test_updates_are_counted_by_outcome_and_verbs_are_timed(observed: Observed) -> None:
    store = observed.store
    state = await store.create(ME, NewSession(values={"text": '"a"'}))
    for _ in range(3):
        await store.update(ME, state.session_id, [Mutation("n", Increment(1))])
    with pytest.raises(WrongType):
        await store.update(ME, state.session_id, [Mutation("text", Increment(1))])
    await store.list(ME, {}, 10, "")
    assert observed.value("updates", outcome="OK") == 3
    assert observed.value("updates", outcome="WRONG_VALUE_TYPE") == 1
    counts = {point.attributes["verb"]: point.count for point in observed.points("store.duration")}
    assert counts == {"create": 1, "update": 4, "list": 1}
    for point in observed.points("store.duration"):
        assert set(point.attributes) == {"verb", "store"}


async def test_watchers_and_their_lag(observed: Observed) -> None:
    watcher = await observed.store.watch(ME)
    assert observed.value("watchers") == 1
    state = await observed.store.create(ME, NewSession())
    seen = 0
    while seen < 2:
        await observed.store.update(ME, state.session_id, [Mutation("n", Set("1"))])
        seen += len(await watcher.events(5))
    watcher.close()
    assert observed.value("watchers") == 0
    assert observed.value("watch.lag") == seen


async def test_a_recorded_call_has_a_span_for_the_store(observed: Observed) -> None:
    state = await observed.store.create(ME, NewSession())
    assert observed.spans.get_finished_spans() == ()  # nobody records the call
    with observed.tracer.start_as_current_span("call") as call:
        await asyncio.gather(*(observed.store.store.execute([Get(ME, state.session_id)] * 3) for _ in range(2)))
    *spans, _ = observed.spans.get_finished_spans()
    assert [span.name for span in spans] == ["get test", "get test"]
    for span in spans:
        assert span.parent is not None
        assert span.parent.span_id == call.get_span_context().span_id
        assert dict(span.attributes or {}) == {
            "db.system.name": "test", "db.operation.name": "get", "db.operation.batch.size": 3,
        }  # fmt: skip
