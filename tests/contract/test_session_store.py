"""What every session store promises, in the words of `ports.SessionStore`."""

import asyncio
import json
from typing import Any

import pytest
from support.session_verbs import Verbs

from virtlease_chassis.errors import DomainError, InvalidArgument, ResourceExhausted
from virtlease_session.errors import (
    Compacted,
    Conflict,
    IncrementOverflow,
    RequestIdReused,
    SessionEnded,
    SessionExists,
    SessionExpired,
    SessionNotFound,
    WatcherTooSlow,
    WrongType,
)
from virtlease_session.model import (
    ANY,
    Append,
    Delete,
    Event,
    Expected,
    Increment,
    Mutation,
    NewSession,
    RequestKey,
    SessionState,
    Set,
)
from virtlease_session.ports import Watcher

ME, OTHER = "acme/alice", "acme/bob"


def request(request_id: str, body: bytes = b"body") -> RequestKey:
    return RequestKey(request_id, body)


def increment(key: str = "n", amount: int = 1) -> Mutation:
    return Mutation(key, Increment(amount))


async def created(store: Verbs, session_id: str = "", owner: str = ME, **fields: Any) -> SessionState:
    return await store.create(owner, NewSession(session_id, **fields), None)


# Creating and reading


async def test_create_mints_an_unguessable_id_and_says_when_it_expires(store, tested) -> None:
    first, second = await created(store), await created(store)
    assert first.session_id != second.session_id
    assert len(first.session_id) >= 32  # 24 random bytes
    assert first.version == 1
    assert first.expires_at == first.now + 3_600_000
    assert first.max_expires_at == first.now + 86_400_000
    assert first.incarnation != second.incarnation


async def test_values_are_kept_verbatim(store) -> None:
    values = {"big": "12345678901234567890123", "spaced": '{ "a" : 1.10 }', "text": '"\\u00e9é"'}
    state = await created(store, values=values)
    assert (await store.get(ME, state.session_id)).values == values


async def test_get_returns_only_the_keys_asked_for(store) -> None:
    state = await created(store, values={"a": "1", "b": "2"})
    assert (await store.get(ME, state.session_id, keys=["b", "c"])).values == {"b": "2"}
    assert (await store.get(ME, state.session_id, keys=[])).values == {}


async def test_create_with_an_id_in_use_is_refused(store) -> None:
    await created(store, "mine", values={"a": "1"})
    with pytest.raises(SessionExists):
        await created(store, "mine")
    assert (await store.get(ME, "mine")).values == {"a": "1"}


async def test_get_or_create_creates_once(store) -> None:
    new = NewSession("mine", values={"a": "1"})
    first, was_created = await store.get_or_create(ME, new, None)
    second, again = await store.get_or_create(ME, NewSession("mine", values={"a": "2"}), None)
    assert (was_created, again) == (True, False)
    assert second.etag == first.etag
    assert second.values == {"a": "1"}


async def test_quota_holds_and_frees(store) -> None:
    states = [await created(store) for _ in range(50)]
    with pytest.raises(ResourceExhausted):
        await created(store)
    await created(store, owner=OTHER)
    await store.end(ME, states[0].session_id, ANY, None)
    await created(store)


# Updating


async def test_mutations_happen_in_order(store) -> None:
    state = await created(store, values={"gone": "1", "n": "40"})
    updated = await store.update(
        ME,
        state.session_id,
        [
            Mutation("text", Set('"a"')),
            Mutation("text", Set('"b"')),
            Mutation("gone", Delete()),
            Mutation("never", Delete()),
            increment(amount=2),
            Mutation("list", Append("1")),
            Mutation("list", Append('{"x": [2]}')),
        ],
        ANY,
        None,
    )
    after = await store.get(ME, state.session_id)
    assert after.values == {"n": "42", "text": '"b"', "list": '[1,{"x": [2]}]'}
    assert updated.incremented == {"n": 42}
    assert updated.etag == after.etag != state.etag
    assert after.version == state.version + 1


async def test_an_append_keeps_the_newest(store) -> None:
    state = await created(store, values={"list": "[ 1, [2, 3] ]"})
    for item in ("4", "5"):
        await store.update(ME, state.session_id, [Mutation("list", Append(item, max_items=3))], ANY, None)
    assert (await store.get(ME, state.session_id)).values == {"list": "[[2, 3],4,5]"}
    long = json.dumps("x" * 30)
    for _ in range(5):
        await store.update(ME, state.session_id, [Mutation("list", Append(long, max_bytes=100))], ANY, None)
    kept = (await store.get(ME, state.session_id)).values["list"]
    assert kept == f"[{long},{long},{long}]"
    assert len(kept) <= 100


@pytest.mark.parametrize(
    ("before", "mutation", "error"),
    [
        ('"text"', increment(), WrongType),
        ("1.5", increment(), WrongType),
        ("9223372036854775807", increment(), IncrementOverflow),
        ("-9223372036854775808", increment(amount=-1), IncrementOverflow),
        ('{"a": 1}', Mutation("n", Append("1")), WrongType),
        ("9223372036854775808", increment(), WrongType),
    ],
)
async def test_an_update_that_cannot_be_made_changes_nothing(store, before, mutation, error) -> None:
    state = await created(store, values={"n": before})
    with pytest.raises(error):
        await store.update(ME, state.session_id, [Mutation("a", Set("1")), mutation], ANY, None)
    after = await store.get(ME, state.session_id)
    assert (after.etag, after.values) == (state.etag, {"n": before})


async def test_preconditions(store) -> None:
    state = await created(store, values={"a": "1"})

    async def update(*mutations: Mutation, expected: Expected = ANY) -> None:
        await store.update(ME, state.session_id, mutations, expected, None)

    await update(Mutation("a", Set("2"), exists=True), Mutation("b", Set("1"), exists=False))
    await update(Mutation("a", Set("3"), equals="2"))
    current = await store.get(ME, state.session_id)
    for wrong in (
        Mutation("a", Set("9"), exists=False),
        Mutation("c", Set("9"), exists=True),
        Mutation("a", Set("9"), equals="2"),
        Mutation("c", Set("9"), equals="1"),
    ):
        with pytest.raises(Conflict) as caught:
            await update(Mutation("b", Set("9")), wrong)
        assert caught.value.metadata["etag"] == current.etag
        assert caught.value.metadata["key"] == wrong.key
    with pytest.raises(Conflict) as caught:
        await update(Mutation("a", Set("9")), expected=Expected(etag=state.etag))
    assert caught.value.metadata["etag"] == current.etag
    await update(Mutation("a", Set("4")), expected=Expected(etag=current.etag, incarnation=current.incarnation))
    with pytest.raises(Conflict):
        await update(Mutation("a", Set("9")), expected=Expected(incarnation="another"))
    assert (await store.get(ME, state.session_id)).values == {"a": "4", "b": "1"}


async def test_limits_of_a_session(store) -> None:
    state = await created(store)
    large = json.dumps("x" * 65_000)
    for number in range(16):
        await store.update(ME, state.session_id, [Mutation(f"k{number}", Set(large))], ANY, None)
    before = await store.get(ME, state.session_id)
    with pytest.raises(InvalidArgument):
        await store.update(ME, state.session_id, [Mutation("one more", Set(large))], ANY, None)
    with pytest.raises(InvalidArgument):
        await store.update(ME, state.session_id, [Mutation("k0", Set("[]")), *_many_keys(1025)], ANY, None)
    after = await store.get(ME, state.session_id)
    assert (after.etag, after.values) == (before.etag, before.values)


async def test_a_session_has_exactly_as_many_keys_as_it_may(store) -> None:
    state = await created(store, values={"k0": "0"})
    await store.update(ME, state.session_id, [Mutation(f"k{n}", Set("1")) for n in range(1024)], ANY, None)
    with pytest.raises(InvalidArgument):
        await store.update(ME, state.session_id, [Mutation("one more", Set("1"))], ANY, None)
    await store.update(ME, state.session_id, [Mutation("k0", Delete()), Mutation("another", Set("1"))], ANY, None)
    assert len((await store.get(ME, state.session_id)).values) == 1024


def _many_keys(count: int) -> list[Mutation]:
    return [Mutation(f"m{number}", Set("1")) for number in range(count)]


@pytest.mark.parametrize("kind", ["distinct keys", "one counter", "one list"])
async def test_s1_no_update_is_lost(store, kind: str) -> None:
    state = await created(store)

    async def writer(number: int) -> None:
        for step in range(20):
            mutation = {
                "distinct keys": Mutation(f"k{number}", Set(str(step))),
                "one counter": increment(),
                "one list": Mutation("list", Append(f"[{number},{step}]")),
            }[kind]
            await store.update(ME, state.session_id, [mutation], ANY, None)

    await asyncio.gather(*(writer(number) for number in range(64)))
    after = await store.get(ME, state.session_id)
    assert after.version == 1 + 64 * 20
    if kind == "distinct keys":
        assert after.values == {f"k{number}": "19" for number in range(64)}
    elif kind == "one counter":
        assert after.values == {"n": str(64 * 20)}
    else:
        items = json.loads(after.values["list"])
        assert len(items) == 64 * 20
        assert all([step for n, step in items if n == number] == list(range(20)) for number in range(64))


# Time


async def test_use_moves_the_deadline_and_a_peek_does_not(store, tested) -> None:
    state = await created(store, idle_ttl=10_000)
    tested.advance(6)
    assert (await store.get(ME, state.session_id, touch=False)).expires_at == state.expires_at
    moved = await store.get(ME, state.session_id)
    assert moved.expires_at == state.expires_at + 6000
    tested.advance(9)
    updated = await store.update(ME, state.session_id, [increment()], ANY, None)
    assert updated.expires_at == state.expires_at + 15_000


async def test_refresh_can_change_the_idle_ttl(store, tested) -> None:
    state = await created(store, idle_ttl=10_000, values={"a": "1"})
    longer = await store.refresh(ME, state.session_id, 60_000, ANY, None)
    assert (longer.idle_ttl, longer.expires_at, longer.values) == (60_000, longer.now + 60_000, {})
    assert longer.etag == state.etag
    shorter = await store.refresh(ME, state.session_id, 2_000, ANY, None)
    assert shorter.expires_at == shorter.now + 2000
    tested.advance(3)
    await tested.sweep()
    with pytest.raises(SessionExpired):
        await store.get(ME, state.session_id)


async def test_s3_never_early_and_seen_before_the_sweep(store, tested) -> None:
    state = await created(store, idle_ttl=10_000)
    tested.advance(9.999)
    await tested.sweep()
    await store.get(ME, state.session_id, touch=False)
    tested.advance(0.001)
    with pytest.raises(SessionExpired):  # nothing has swept it
        await store.get(ME, state.session_id)


async def test_s3_a_sweep_spares_what_was_used_since_it_was_filed(store, tested) -> None:
    used, forgotten = await created(store, idle_ttl=10_000), await created(store, idle_ttl=10_000)
    for _ in range(3):
        tested.advance(7)
        assert (await store.get(ME, used.session_id)).version == 1
        await tested.sweep()
    assert (await store.get(ME, used.session_id)).version == 1
    assert [state.session_id for state in (await store.list(ME, {}, 10, "")).sessions] == [used.session_id]
    with pytest.raises(SessionExpired):
        await store.get(ME, forgotten.session_id)


async def test_s3_the_absolute_life_ends_whatever_the_use(store, tested) -> None:
    state = await created(store, idle_ttl=10_000, max_life=25_000)
    for _ in range(4):
        tested.advance(6)
        seen = await store.get(ME, state.session_id)
        assert seen.expires_at <= state.max_expires_at
    tested.advance(1)
    with pytest.raises(SessionExpired):
        await store.get(ME, state.session_id)


async def test_s3_the_time_of_day_changes_nothing(store, tested) -> None:
    state = await created(store, idle_ttl=10_000)
    for jump in (3600, -7200, 86_400):
        tested.clock.jump(jump)
        await tested.sweep()
        seen = await store.get(ME, state.session_id, touch=False)
        assert seen.expires_at - seen.now == 10_000


# The end


async def test_s2_no_resurrection_of_an_ended_session(store, tested) -> None:
    state = await created(store, "mine", values={"a": "1"})
    await store.end(ME, "mine", ANY, None)
    for late in _late_calls(store, "mine"):
        with pytest.raises(SessionEnded):
            await late
    assert (await store.list(ME, {}, 10, "")).sessions == ()
    # An id that is used anew is another incarnation, and a write that means the old one is refused
    again = await created(store, "mine")
    assert again.incarnation != state.incarnation
    assert again.values == {}
    with pytest.raises(Conflict):
        await store.update(ME, "mine", [increment()], Expected(incarnation=state.incarnation), None)


async def test_s2_no_resurrection_of_an_expired_session(store, tested) -> None:
    await created(store, "mine", idle_ttl=5_000)
    tested.advance(5)
    for swept in (False, True):
        if swept:
            await tested.sweep()
        for late in _late_calls(store, "mine"):
            with pytest.raises(SessionExpired):
                await late
    assert (await store.list(ME, {}, 10, "")).sessions == ()


def _late_calls(store: Verbs, session_id: str) -> list[Any]:
    return [
        store.get(ME, session_id),
        store.update(ME, session_id, [increment()], ANY, None),
        store.refresh(ME, session_id, None, ANY, None),
        store.end(ME, session_id, ANY, None),
    ]


async def test_end_can_be_bound_to_a_state(store) -> None:
    state = await created(store)
    await store.update(ME, state.session_id, [increment()], ANY, None)
    with pytest.raises(Conflict):
        await store.end(ME, state.session_id, Expected(etag=state.etag), None)
    await store.end(ME, state.session_id, Expected(etag=(await store.get(ME, state.session_id)).etag), None)


async def test_the_dead_are_forgotten_after_ten_minutes(store, tested) -> None:
    state = await created(store)
    await store.end(ME, state.session_id, ANY, request("end"))
    tested.advance(599)
    await tested.purge()
    with pytest.raises(SessionEnded):
        await store.get(ME, state.session_id)
    tested.advance(2)
    await tested.purge()
    with pytest.raises(SessionNotFound):
        await store.get(ME, state.session_id)


# Owners


async def test_s4_another_owner_sees_nothing(store) -> None:
    state = await created(store, "mine", values={"a": "1"})
    for foreign in (
        store.get(OTHER, "mine"),
        store.update(OTHER, "mine", [increment()], ANY, None),
        store.refresh(OTHER, "mine", None, ANY, None),
        store.end(OTHER, "mine", ANY, None),
    ):
        with pytest.raises(SessionNotFound):
            await foreign
    assert (await store.list(OTHER, {}, 10, "")).sessions == ()
    # The same id is free to them, and theirs is another session
    theirs = await created(store, "mine", owner=OTHER)
    await store.end(OTHER, "mine", ANY, None)
    assert theirs.incarnation != state.incarnation
    assert (await store.get(ME, "mine")).values == {"a": "1"}
    # And an end of mine is no end to them
    await store.end(ME, "mine", ANY, None)
    with pytest.raises(SessionEnded):
        await store.get(OTHER, "mine")
    with pytest.raises(SessionNotFound):
        await store.get("acme/carol", "mine")


# Retries


async def test_s5_a_retried_write_has_its_effect_once(store) -> None:
    first = await store.create(ME, NewSession(values={"n": "0"}), request("create"))
    assert (await store.create(ME, NewSession(values={"n": "0"}), request("create"))).session_id == first.session_id

    once = await store.update(ME, first.session_id, [increment()], ANY, request("update"))
    twice = await store.update(ME, first.session_id, [increment()], ANY, request("update"))
    assert (twice.etag, twice.incremented) == (once.etag, {"n": 1})
    assert (await store.get(ME, first.session_id)).values == {"n": "1"}

    ended = await store.end(ME, first.session_id, ANY, request("end"))
    assert await store.end(ME, first.session_id, ANY, request("end")) == ended


async def test_s5_concurrent_retries_have_one_effect(store) -> None:
    state = await created(store)
    calls = (store.update(ME, state.session_id, [increment()], ANY, request("same")) for _ in range(20))
    results = await asyncio.gather(*calls)
    assert {result.etag for result in results} == {results[0].etag}
    assert (await store.get(ME, state.session_id)).values == {"n": "1"}


async def test_a_request_id_is_of_one_request_owner_verb_and_session(store) -> None:
    state = await created(store)
    await store.update(ME, state.session_id, [increment()], ANY, request("r"))
    with pytest.raises(RequestIdReused):
        await store.update(ME, state.session_id, [increment(amount=5)], ANY, request("r", b"another body"))
    other = await created(store, owner=OTHER)
    await store.update(OTHER, other.session_id, [increment()], ANY, request("r", b"another body"))
    another = await created(store)
    await store.update(ME, another.session_id, [increment()], ANY, request("r", b"another body"))
    await store.end(ME, state.session_id, ANY, request("r", b"another body"))


async def test_a_request_that_failed_can_be_made_again(store) -> None:
    state = await created(store, values={"n": '"text"'})
    with pytest.raises(WrongType):
        await store.update(ME, state.session_id, [increment()], ANY, request("r"))
    await store.update(ME, state.session_id, [Mutation("n", Set("1"))], ANY, None)
    await store.update(ME, state.session_id, [increment()], ANY, request("r"))
    assert (await store.get(ME, state.session_id)).values == {"n": "2"}


async def test_a_request_id_is_forgotten_after_ten_minutes(store, tested) -> None:
    state = await created(store)
    await store.update(ME, state.session_id, [increment()], ANY, request("r"))
    tested.advance(601)
    await tested.purge()
    await store.update(ME, state.session_id, [increment()], ANY, request("r"))
    assert (await store.get(ME, state.session_id)).values == {"n": "2"}


# Lists


async def test_list_pages_have_each_session_once(store) -> None:
    ids = {(await created(store, labels={"kind": "odd" if n % 2 else "even"})).session_id for n in range(25)}
    seen: list[str] = []
    after = ""
    while True:
        page = await store.list(ME, {}, 10, after)
        seen += [state.session_id for state in page.sessions]
        assert all(state.values == {} for state in page.sessions)
        # One that ends and one that comes between two pages disturb no other
        if not after:
            await store.end(ME, seen[0], ANY, None)
            await created(store, labels={"kind": "late"})
        after = page.after
        if not after:
            break
    assert len(seen) == len(set(seen))
    assert ids <= set(seen)


async def test_list_selects_by_labels(store) -> None:
    for n in range(6):
        await created(store, labels={"a": str(n % 2), "b": str(n % 3)})
    found = (await store.list(ME, {"a": "0", "b": "1"}, 10, "")).sessions
    assert [dict(state.labels) for state in found] == [{"a": "0", "b": "1"}]
    assert (await store.list(ME, {"c": "0"}, 10, "")).sessions == ()


# Watching


async def changes(watcher: Watcher, count: int) -> list[tuple[str, str, str]]:
    """The next changes, as type, session and etag."""
    found: list[Event] = []
    while len(found) < count:
        more = await watcher.events(5)
        assert more, f"{len(found)} of {count} changes came: {found}"
        found += more
    return [(event.type.name, event.session_id, event.etag) for event in found]


async def test_s7_a_watcher_sees_each_change_once_and_in_order(store, tested) -> None:
    await created(store, "before")
    watcher = await store.watch(ME)
    one = await created(store, "one", idle_ttl=5_000, labels={"a": "b"})
    first = await store.update(ME, "one", [Mutation("k", Set("1")), Mutation("j", Set("1"))], ANY, None)
    await store.refresh(ME, "one", None, ANY, None)
    two = await created(store, "two")
    second = await store.update(ME, "one", [Mutation("k", Delete())], ANY, None)
    await store.end(ME, "two", ANY, None)
    tested.advance(7)
    await tested.sweep()
    seen = await changes(watcher, 7)
    assert [(kind, etag) for kind, session_id, etag in seen if session_id == "one"] == [
        ("CREATED", one.etag),
        ("UPDATED", first.etag),
        ("REFRESHED", first.etag),
        ("UPDATED", second.etag),
        ("EXPIRED", second.etag),
    ]
    assert [(kind, etag) for kind, session_id, etag in seen if session_id == "two"] == [
        ("CREATED", two.etag),
        ("ENDED", two.etag),
    ]
    assert await watcher.events(0.05) == []
    watcher.close()


async def test_events_say_what_changed(store) -> None:
    watcher = await store.watch(ME)
    await created(store, "one", labels={"a": "b"})
    await store.update(ME, "one", [Mutation("k", Set("1")), Mutation("j", Set("1"))], ANY, None)
    found = [*await watcher.events(5), *await watcher.events(0.2)]
    assert [dict(event.labels) for event in found] == [{"a": "b"}, {"a": "b"}]
    assert set(found[1].keys) == {"k", "j"}
    assert found[0].at <= found[1].at
    watcher.close()


async def test_s7_reads_and_failed_writes_are_no_changes(store) -> None:
    state = await created(store, values={"n": '"text"'})
    watcher = await store.watch(ME)
    await store.get(ME, state.session_id)
    for failing in (
        store.update(ME, state.session_id, [increment()], ANY, None),
        store.end(ME, state.session_id, Expected(etag="other"), None),
        store.create(ME, NewSession(state.session_id), None),
    ):
        with pytest.raises(DomainError):
            await failing
    await store.update(ME, state.session_id, [Mutation("a", Set("1"))], ANY, request("r"))
    await store.update(ME, state.session_id, [Mutation("a", Set("1"))], ANY, request("r"))
    assert len(await changes(watcher, 1)) == 1
    assert await watcher.events(0.05) == []
    watcher.close()


async def test_s4_a_watcher_sees_only_its_owner(store) -> None:
    watcher = await store.watch(OTHER)
    await created(store, "mine")
    await created(store, "theirs", owner=OTHER)
    assert [session_id for _, session_id, _ in await changes(watcher, 1)] == ["theirs"]
    assert await watcher.events(0.05) == []
    watcher.close()


async def test_s7_a_watch_goes_on_from_a_token(store) -> None:
    watcher = await store.watch(ME)
    state = await created(store)
    await changes(watcher, 1)
    token = watcher.token
    watcher.close()
    etags = [(await store.update(ME, state.session_id, [increment()], ANY, None)).etag for _ in range(5)]
    again = await store.watch(ME, token)
    assert [etag for _, _, etag in await changes(again, 5)] == etags
    # Twice from the same token, and from the middle
    middle = await store.watch(ME, token)
    assert [etag for _, _, etag in await changes(middle, 5)] == etags
    for each in (again, middle):
        each.close()


async def test_s7_a_token_that_is_too_old_is_compacted(store, tested) -> None:
    watcher = await store.watch(ME)
    state = await created(store)
    token = watcher.token
    for _ in range(tested.watch_history + 20):
        await store.update(ME, state.session_id, [increment()], ANY, None)

    async def go_on() -> None:
        await (await store.watch(ME, token)).events(1)

    with pytest.raises(Compacted):
        await go_on()
    watcher.close()


async def test_s7_a_watcher_that_does_not_read_is_told_that_it_missed_some(store, tested) -> None:
    watcher = await store.watch(ME)
    state = await created(store)
    for _ in range(tested.watch_history + 20):
        await store.update(ME, state.session_id, [increment()], ANY, None)
    with pytest.raises((WatcherTooSlow, Compacted)):
        await watcher.events(1)
    watcher.close()


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "bnVsbA==", "WyJhIiwgLTFd", "WyJhIiwgMS41XQ=="])
async def test_a_forged_token_is_refused(store, token: str) -> None:
    with pytest.raises((InvalidArgument, Compacted)):
        await store.watch(ME, token)


async def test_s7_many_writers_and_a_watcher(store) -> None:
    watcher = await store.watch(ME)
    states = [await created(store) for _ in range(5)]
    await changes(watcher, 5)

    async def writer(session_id: str) -> None:
        for _ in range(8):
            await store.update(ME, session_id, [increment()], ANY, None)

    writers = [asyncio.create_task(writer(state.session_id)) for state in states for _ in range(2)]
    seen = await changes(watcher, 5 * 16)
    await asyncio.gather(*writers)
    for state in states:
        versions = [int(etag.split("-")[1]) for _, session_id, etag in seen if session_id == state.session_id]
        assert versions == list(range(2, 18))
    watcher.close()
