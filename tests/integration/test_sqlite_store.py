"""What only a store on a disk does: it outlives its process, keeps others out, and survives its disk."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.session_verbs import Verbs

from virtlease_chassis.clock import FakeClock
from virtlease_chassis.settings import SettingsError
from virtlease_session.errors import (
    Compacted,
    RequestIdReused,
    SessionEnded,
    SessionExpired,
    StoreUnavailable,
)
from virtlease_session.limits import Limits
from virtlease_session.model import ANY, Append, Delete, Increment, Mutation, NewSession, RequestKey, Set
from virtlease_session.store.sqlite import SqliteStore, database

ME = "acme/alice"


@contextlib.asynccontextmanager
async def opened(folder: Path, clock: FakeClock, **options: Any) -> AsyncIterator[Verbs]:
    store = SqliteStore(folder, clock, Limits(), 100, **options)
    await store.open()
    try:
        yield Verbs(store)
    finally:
        await store.close()


async def test_s6_everything_outlives_the_process(tmp_path: Path) -> None:
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        state = await store.create(ME, NewSession("mine", values={"a": "1", "gone": "1"}, labels={"k": "ä"}))
        await store.update(
            ME, "mine", [Mutation("l", Append("[1]")), Mutation("gone", Delete()), Mutation("n", Increment(2**62))]
        )
        before = await store.get(ME, "mine", touch=False)
    clock.advance(60)
    async with opened(tmp_path, clock) as store:
        after = await store.get(ME, "mine", touch=False)
        assert after.values == {"a": "1", "l": "[[1]]", "n": str(2**62)}
        assert (after.etag, after.labels, after.created_at) == (before.etag, {"k": "ä"}, state.created_at)
        # It goes on where it was: versions grow, lists are appended to, sizes are known
        updated = await store.update(ME, "mine", [Mutation("l", Append("2"))])
        assert updated.version == before.version + 1
        assert [each.session_id for each in (await store.list(ME, {"k": "ä"}, 10, "")).sessions] == ["mine"]


async def test_s5_a_retry_is_known_after_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    key = {name: RequestKey(name, b"body") for name in ("create", "found", "update", "refresh", "end")}
    async with opened(tmp_path, clock) as store:
        state = await store.create(ME, NewSession(), key["create"])
        found = await store.get_or_create(ME, NewSession("chosen"), key["found"])
        updated = await store.update(ME, state.session_id, [Mutation("n", Increment(1))], ANY, key["update"])
        await store.refresh(ME, state.session_id, 3_600_000, ANY, key["refresh"])
        ended = await store.end(ME, "chosen", ANY, key["end"])
    async with opened(tmp_path, clock) as store:
        assert (await store.create(ME, NewSession(), key["create"])).session_id == state.session_id
        again = await store.update(ME, state.session_id, [Mutation("n", Increment(1))], ANY, key["update"])
        assert (again.etag, again.incremented) == (updated.etag, {"n": 1})
        assert (await store.refresh(ME, state.session_id, 3_600_000, ANY, key["refresh"])).idle_ttl == 3_600_000
        assert await store.end(ME, "chosen", ANY, key["end"]) == ended
        assert found[1]
        with pytest.raises(SessionEnded):  # what it created is over
            await store.get_or_create(ME, NewSession("chosen"), key["found"])
        with pytest.raises(RequestIdReused):
            await store.update(ME, state.session_id, [Mutation("n", Increment(2))], ANY, RequestKey("update", b"x"))
    clock.advance(601)
    async with opened(tmp_path, clock) as store:
        anew = await store.update(ME, state.session_id, [Mutation("n", Increment(1))], ANY, key["update"])
        assert anew.incremented == {"n": 2}


async def test_s2_the_dead_stay_dead_over_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        for name in ("ended", "expired", "expires while nobody is there"):
            await store.create(ME, NewSession(name.split()[0], idle_ttl=10_000))
            if name == "ended":
                await store.end(ME, "ended")
            elif name == "expired":
                clock.advance(11)
                while store.store.engine.sweep(10):
                    pass
    clock.advance(16)
    async with opened(tmp_path, clock) as store:
        with pytest.raises(SessionEnded):
            await store.get(ME, "ended")
        for name in ("expired", "expires"):
            with pytest.raises(SessionExpired):
                await store.get(ME, name)


async def test_s3_a_restart_expires_nothing_early_and_little_late(tmp_path: Path) -> None:
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        await store.create(ME, NewSession("one", idle_ttl=100_000))
        clock.advance(50)
        await store.get(ME, "one")  # a use that is written, since the deadline moved by more than the slack
        await asyncio.sleep(0.1)  # it is, by now
        clock.advance(4)
        await store.get(ME, "one")  # one that is not
        await asyncio.sleep(0.05)
    clock.advance(99)
    async with opened(tmp_path, clock) as store:
        await store.get(ME, "one", touch=False)
    clock.advance(1 + database.slack(100_000) / 1000)
    async with opened(tmp_path, clock) as store:
        with pytest.raises(SessionExpired):
            await store.get(ME, "one")


async def test_uses_are_written_by_slack_alone(tmp_path: Path) -> None:
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        await store.create(ME, NewSession("one", idle_ttl=3_600_000))
        writes = count_writes(store)
        for _ in range(100):
            clock.advance(0.5)
            await store.get(ME, "one")
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        assert len(writes) <= 10  # fifty seconds by five


def count_writes(store: Verbs) -> list[object]:
    """Every group that is written from now on."""
    written: list[object] = []
    write = store.store._database.write
    store.store._database.write = lambda rows: (written.append(rows), write(rows))[1]
    return written


async def test_writes_are_committed_in_groups(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeClock()) as store:
        states = [await store.create(ME, NewSession()) for _ in range(64)]
        writes = count_writes(store)
        await asyncio.gather(*(store.update(ME, each.session_id, [Mutation("a", Set("1"))]) for each in states))
        assert len(writes) <= 3


async def test_nobody_sees_what_a_crash_could_undo(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeClock()) as store:
        await store.create(ME, NewSession("one", values={"a": "1"}))
        inner = store.store
        gate = asyncio.Event()
        in_thread = inner._in_thread

        async def held(work: Any, *arguments: Any) -> Any:
            if work == inner._database.write:
                await gate.wait()
            return await in_thread(work, *arguments)

        inner._in_thread = held
        write = asyncio.create_task(store.update(ME, "one", [Mutation("a", Set("2"))]))
        await asyncio.sleep(0.02)
        read = asyncio.create_task(store.get(ME, "one"))
        refused = asyncio.create_task(store.update(ME, "one", [Mutation("a", Set("3"), equals="1")]))
        listed = asyncio.create_task(store.list(ME, {}, 10, ""))
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in (write, read, refused, listed))
        gate.set()
        await asyncio.gather(write, read, listed, return_exceptions=True)
        assert read.result().values == {"a": "2"}
        await asyncio.gather(refused, return_exceptions=True)


async def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeClock()):
        with pytest.raises(SettingsError, match="another process has"):
            await SqliteStore(tmp_path, FakeClock(), Limits(), 100).open()
    async with opened(tmp_path, FakeClock()):
        pass


async def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="VIRTLEASE_SESSION_DATA_DIR"):
        await SqliteStore(tmp_path / "file", FakeClock(), Limits(), 100).open()


async def test_a_disk_that_fails_is_told_and_nothing_false_is_acknowledged(tmp_path: Path) -> None:
    health: list[bool] = []
    clock = FakeClock()
    async with opened(tmp_path, clock, on_health=health.append) as store:
        await store.create(ME, NewSession("one", values={"n": "1"}))
        watcher = await store.watch(ME)
        broken = True
        write, probe = database.Database.write, database.Database.probe

        def failing(self: Any, *arguments: Any) -> None:
            if broken:
                raise sqlite3.OperationalError("database or disk is full")
            (write if arguments else probe)(self, *arguments)

        database.Database.write = database.Database.probe = failing
        try:
            with pytest.raises(StoreUnavailable) as caught:
                await store.update(ME, "one", [Mutation("n", Increment(1))])
            assert caught.value.retry_after
            with pytest.raises(StoreUnavailable):
                await store.get(ME, "one")
            assert health == [False]
            await asyncio.sleep(0.7)
            with pytest.raises(StoreUnavailable):
                await store.create(ME, NewSession("two"))
            broken = False
            async with asyncio.timeout(5):
                while health[-1] is False:
                    await asyncio.sleep(0.05)
            # It came back by itself, with what was acknowledged and nothing else
            assert (await store.get(ME, "one")).values == {"n": "1"}
            assert [each.session_id for each in (await store.list(ME, {}, 10, "")).sessions] == ["one"]
            await store.update(ME, "one", [Mutation("n", Increment(1))])
            assert [event.type.name for event in await watcher.events(2)] == ["UPDATED"]
        finally:
            database.Database.write, database.Database.probe = write, probe
    async with opened(tmp_path, clock) as store:
        assert (await store.get(ME, "one")).values == {"n": "2"}
        with pytest.raises(Compacted):  # the history of changes is not kept
            await store.watch(ME, watcher.token)


async def test_a_torn_log_loses_what_was_not_acknowledged_alone(tmp_path: Path) -> None:
    clock = FakeClock()
    folder, copy = tmp_path / "one", tmp_path / "copy"
    async with opened(folder, clock) as store:
        await store.create(ME, NewSession("one", values={"n": "1"}))
        # What a crash leaves, with the end of the log cut off in the middle of a write that was under way
        copy.mkdir()
        for name in (database.FILE, f"{database.FILE}-wal"):
            (copy / name).write_bytes((folder / name).read_bytes())
        acknowledged = (copy / f"{database.FILE}-wal").stat().st_size
        await store.update(ME, "one", [Mutation("n", Increment(1))])
        log = (folder / f"{database.FILE}-wal").read_bytes()
        (copy / f"{database.FILE}-wal").write_bytes(log[: acknowledged + (len(log) - acknowledged) // 2])
    async with opened(copy, clock) as store:
        assert (await store.get(ME, "one")).values == {"n": "1"}
