"""Metrics of a store, and spans round what is asked of it."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import SpanKind

from virtlease_chassis.errors import DomainError
from virtlease_session.model import Answer, Event, Page, Update, Verb
from virtlease_session.ports import SessionStore, Watcher
from virtlease_session.tally import Tally

_VERBS = {
    "Create": "create",
    "GetOrCreate": "get_or_create",
    "Get": "get",
    "Update": "update",
    "Refresh": "refresh",
    "End": "end",
}
_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ObservedStore:
    """See `ports.SessionStore`: a store, watched at its port. Labels are verbs, stores and reasons of errors alone.

    A batch is measured once for each kind of verb in it: measuring every verb would cost more than some of them.
    """

    def __init__(self, store: SessionStore, name: str, tracer: trace.Tracer, meter: metrics.Meter) -> None:
        """`name` is what the store is called in metrics and spans."""
        self._store = store
        self._name = name
        self._tracer = tracer
        self._watchers = 0
        self._duration = meter.create_histogram(
            "virtlease.session.store.duration",
            "s",
            "How long the store took for a batch that has a verb of this kind",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._updates = meter.create_counter("virtlease.session.updates", "{update}", "Updates by what came of them")
        self._lag = meter.create_histogram(
            "virtlease.session.watch.lag",
            "s",
            "From a change until a watcher had it",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._labels: dict[type[Any], Mapping[str, str]] = {}
        store_label = {"store": name}
        self._store_label = store_label

        def observe(
            make: Callable[..., Any], metric: str, unit: str, text: str, read: Callable[[Tally], float]
        ) -> None:
            def callback(_: CallbackOptions) -> Iterable[Observation]:
                return (Observation(read(store.tally), store_label),)

            make(f"virtlease.session.{metric}", [callback], unit, text)

        counter, gauge = meter.create_observable_counter, meter.create_observable_gauge
        observe(counter, "created", "{session}", "Sessions created here", lambda tally: tally.created)
        observe(counter, "expired", "{session}", "Sessions that expired and were buried here", lambda t: t.expired)
        observe(counter, "ended", "{session}", "Sessions ended here", lambda tally: tally.ended)
        observe(gauge, "live", "{session}", "Sessions in the store", lambda tally: tally.live)
        observe(gauge, "sweep.duration", "s", "How long the last sweep took", lambda t: t.sweep_duration / 1000)
        observe(gauge, "sweep.lag", "s", "How overdue what it buried was at most", lambda t: t.sweep_lag / 1000)
        observe(gauge, "watchers", "{watcher}", "Watches that are open", lambda _: self._watchers)

    @property
    def tally(self) -> Tally:
        return self._store.tally

    async def execute(self, verbs: Sequence[Verb]) -> list[Answer | DomainError]:
        kinds = {type(verb) for verb in verbs}
        with self._span(kinds, len(verbs)):
            started = time.perf_counter()
            answers = await self._store.execute(verbs)
            took = time.perf_counter() - started
        for kind in kinds:
            self._duration.record(took, self._labels.get(kind) or self._label(kind))
        if Update in kinds:
            self._count_updates(verbs, answers)
        return answers

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        with self._span((), 1, "list"):
            started = time.perf_counter()
            page = await self._store.list(owner, labels, limit, after)
            self._duration.record(time.perf_counter() - started, {"verb": "list", "store": self._name})
            return page

    async def watch(self, owner: str, token: str) -> Watcher:
        with self._span((), 1, "watch"):
            watcher = await self._store.watch(owner, token)
        self._watchers += 1
        return _ObservedWatcher(watcher, self._saw, self._left)

    def _label(self, kind: type[Any]) -> Mapping[str, str]:
        labels = self._labels[kind] = {"verb": _VERBS[kind.__name__], "store": self._name}
        return labels

    def _count_updates(self, verbs: Sequence[Verb], answers: Sequence[Answer | DomainError]) -> None:
        outcomes: Counter[str] = Counter()
        for verb, answer in zip(verbs, answers, strict=True):
            if type(verb) is Update:
                outcomes[answer.reason if isinstance(answer, DomainError) else "OK"] += 1
        for outcome, count in outcomes.items():
            self._updates.add(count, {"outcome": outcome, "store": self._name})

    @contextlib.contextmanager
    def _span(self, kinds: Iterable[type[Any]], size: int, verb: str = "") -> Iterator[None]:
        """A span, if the call in which it happens is recorded: otherwise it costs nothing."""
        if not trace.get_current_span().is_recording():
            yield
            return
        name = verb or "+".join(sorted(_VERBS[kind.__name__] for kind in kinds))
        attributes: dict[str, str | int] = {
            "db.system.name": self._name,
            "db.operation.name": name,
            "db.operation.batch.size": size,
        }
        kind = SpanKind.CLIENT if self._name == "redis" else SpanKind.INTERNAL
        with self._tracer.start_as_current_span(f"{name} {self._name}", kind=kind, attributes=attributes):
            yield

    def _saw(self, events: Sequence[Event]) -> None:
        now = time.time()
        for event in events:
            self._lag.record(max(0.0, now - event.at / 1000), self._store_label)

    def _left(self) -> None:
        self._watchers -= 1


class _ObservedWatcher:
    """See `ports.Watcher`."""

    def __init__(self, watcher: Watcher, saw: Callable[[Sequence[Event]], None], left: Callable[[], None]) -> None:
        self._watcher = watcher
        self._saw = saw
        self._left = left

    @property
    def token(self) -> str:
        return self._watcher.token

    async def events(self, wait: float) -> list[Event]:
        events = await self._watcher.events(wait)
        if events:
            self._saw(events)
        return events

    def close(self) -> None:
        self._left()
        self._watcher.close()
