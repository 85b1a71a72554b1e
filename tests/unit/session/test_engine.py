"""What only the engine's inside shows."""

import gc

from virtlease_chassis.clock import FakeClock
from virtlease_session.engine import Engine
from virtlease_session.limits import Limits
from virtlease_session.model import Append, Create, End, Get, Increment, Mutation, NewSession, Set, Update


def test_s3_a_sweep_looks_at_no_more_than_its_budget() -> None:
    clock = FakeClock()
    engine = Engine(clock, Limits())
    for _ in range(1000):
        engine.execute([Create("me", NewSession(idle_ttl=5_000))])[0]
    clock.advance(7)
    slices = 1
    while engine.sweep(100):
        slices += 1
    assert slices >= 10
    assert len(engine) == 0


def test_sessions_are_nothing_to_the_garbage_collector() -> None:
    engine = Engine(FakeClock(), Limits())
    state = engine.execute([Create("me", NewSession(values={"a": "1", "b": '"text"'}))])[0]
    engine.execute([Update("me", state.session_id, [Mutation("l", Append("1")), Mutation("n", Increment(1))])])[0]
    record = engine._owners["me"].get(state.session_id)
    assert not gc.is_tracked(record)
    assert not gc.is_tracked(record.values)
    engine.execute([End("me", state.session_id)])
    assert not any(gc.is_tracked(stone) for stone in engine._tombstones._stones.after(""))


def test_s3_a_full_collection_does_not_visit_every_session() -> None:
    """It would hold the loop for 20 ms with a million of them, and for more when that many have just ended."""
    clock = FakeClock()
    engine = Engine(clock, Limits())
    engine.execute([Create("me", NewSession(idle_ttl=5_000)) for _ in range(2000)])
    gc.collect()
    (bucket,) = engine._expiry._buckets.values()
    assert len(bucket._chunks) == 3
    assert not any(gc.is_tracked(chunk) for chunk in bucket._chunks)
    clock.advance(7)
    while engine.sweep(100):
        pass
    gc.collect()
    (dead,) = engine._tombstones._seconds.values()
    assert not any(gc.is_tracked(chunk) for chunk in dead._chunks)
    assert not any(gc.is_tracked(shard) for shard in engine._tombstones._stones._shards)


def test_an_owner_without_sessions_is_forgotten() -> None:
    engine = Engine(FakeClock(), Limits())
    state = engine.execute([Create("me", NewSession())])[0]
    engine.execute([End("me", state.session_id)])[0]
    assert not engine._owners


def test_the_size_is_kept_right() -> None:
    engine = Engine(FakeClock(), Limits())
    session_id = engine.execute([Create("me", NewSession(values={"ä": '"ö"'}))])[0].session_id
    for mutation in (Mutation("l", Append("[1]")), Mutation("l", Append("2", max_items=1)), Mutation("ä", Set("1"))):
        engine.execute([Update("me", session_id, [mutation])])[0]
        record = engine._owners["me"].get(session_id)
        assert record.size == sum(
            len(key.encode()) + len(value.encode())
            for key, value in engine.execute([Get("me", session_id)])[0].values.items()
        )
