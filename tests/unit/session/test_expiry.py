"""Expiry buckets: what falls due, when, and how much is looked at."""

import random

from virtlease_session.engine.expiry import ExpiryBuckets
from virtlease_session.engine.record import Record


def record(name: str, deadline: int) -> Record:
    return Record(
        owner="me", session_id=name, incarnation="i", values={}, labels={}, idle_ttl=1, created=0, updated=0,
        deadline=deadline, max_deadline=10**12,
    )  # fmt: skip


def due(buckets: ExpiryBuckets, now: int, budget: int = 10**6) -> list[str]:
    return [found.session_id for found in buckets.due(now, budget)]


def test_s3_never_early_and_at_most_a_second_late() -> None:
    chance = random.Random(1)
    buckets = ExpiryBuckets()
    deadlines = {str(n): chance.randrange(1000, 60_000) for n in range(500)}
    for name, deadline in deadlines.items():
        buckets.file(record(name, deadline))
    left = dict(deadlines)
    for now in range(0, 62_000, 250):
        for name in due(buckets, now):
            assert left.pop(name) <= now
        assert all(deadline > now - 1250 for deadline in left.values())
    assert not left


def test_a_use_writes_only_the_deadline() -> None:
    buckets = ExpiryBuckets()
    one = record("one", 5_000)
    buckets.file(one)
    for moment in range(1_000, 50_000, 1_000):
        one.deadline = moment + 5_000
        assert due(buckets, moment) == []
    assert due(buckets, 60_000) == ["one"]
    assert due(buckets, 120_000) == []


def test_an_earlier_deadline_counts_when_it_is_filed() -> None:
    buckets = ExpiryBuckets()
    one = record("one", 50_000)
    buckets.file(one)
    one.deadline = 3_000
    buckets.file(one)
    assert due(buckets, 4_000) == ["one"]
    assert due(buckets, 60_000) == []


def test_what_has_ended_is_forgotten() -> None:
    buckets = ExpiryBuckets()
    one = record("one", 5_000)
    buckets.file(one)
    buckets.forget(one)
    buckets.forget(one)
    assert due(buckets, 10_000) == []


def test_a_sweep_keeps_to_its_budget() -> None:
    buckets = ExpiryBuckets()
    for n in range(1000):
        buckets.file(record(str(n), 5_000))
    assert len(due(buckets, 7_000, budget=300)) == 300
    assert buckets.overdue(7_000)
    assert len(due(buckets, 7_000)) == 700
    assert not buckets.overdue(7_000)


def test_sessions_that_come_and_go_leave_nothing_behind() -> None:
    buckets = ExpiryBuckets()
    for n in range(100_000):
        gone = record(str(n), 3_600_000)
        buckets.file(gone)
        buckets.forget(gone)
    assert sum(len(bucket) for bucket in buckets._buckets.values()) < 200


def test_a_long_sleep_is_caught_up_with() -> None:
    buckets = ExpiryBuckets()
    assert due(buckets, 1_000) == []
    buckets.file(record("one", 5_000))
    buckets.file(record("two", 9_000_000_000))
    assert due(buckets, 8_000_000_000) == ["one"]
    assert due(buckets, 9_100_000_000) == ["two"]
