"""What comes together on one session, in every order in which it can come, and cut off at every step.

Redis does its work elsewhere, where no loop of ours decides on the order: there the cuts have to do.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.every_schedule import every_schedule, explore, settle
from support.session_stores import KINDS, StoreUnderTest
from support.session_verbs import Verbs

from virtlease_chassis.errors import DomainError
from virtlease_session.errors import Conflict, SessionEnded, SessionExpired, SessionNotFound
from virtlease_session.model import ANY, Expected, Increment, Mutation, NewSession, RequestKey, SessionState, Updated

ME = "acme/alice"
ADD = [Mutation("n", Increment(1))]
SWITCHES = 12
MOST = 20_000
DETERMINISTIC = [kind for kind in KINDS if kind in ("memory", "sqlite")]
MEMORY_FILES = Path("/dev/shm")  # every schedule opens a database of its own


@dataclass
class Scene:
    """A store with the session `x` in it, whose idle time is 5 s."""

    tested: StoreUnderTest
    verbs: Verbs
    born: SessionState

    async def later(self, session_id: str = "x") -> SessionState | DomainError:
        """The session as it is afterwards, or why it is not."""
        return await told(self.verbs.get(ME, session_id, touch=False))


Play = Callable[[Scene], Awaitable[list[Any]]]
Check = Callable[[list[Any], Any, Any], bool]


async def told(call: Awaitable[Any]) -> Any:
    """What a call answers, errors too."""
    try:
        return await call
    except DomainError as error:
        return error


async def both(one: Awaitable[Any], other: Awaitable[Any]) -> list[Any]:
    return list(await asyncio.gather(one, other))


async def some(scene: Scene, count: int, **fields: Any) -> list[Any]:
    return [await told(scene.verbs.update(ME, "x", ADD, **fields)) for _ in range(count)]


def in_every_schedule(kind: str, play: Play, check: Check) -> int:
    """Plays a scene in every schedule. Then what was answered, what is there, and what is there after a restart fit."""

    async def once() -> None:
        with tempfile.TemporaryDirectory(dir=MEMORY_FILES if MEMORY_FILES.is_dir() else None) as folder:
            async with KINDS[kind](Path(folder)) as tested:
                verbs = Verbs(tested.store)
                scene = Scene(tested, verbs, await verbs.create(ME, NewSession("x", idle_ttl=5_000)))
                explore()
                answers = await play(scene)
                settle()
                before = await scene.later()
            after = before
            if kind == "sqlite":
                async with KINDS[kind](Path(folder)) as again:
                    again.clock.advance(tested.clock.monotonic() / 1000 - 1000)
                    after = await told(Verbs(again.store).get(ME, "x", touch=False))
            assert check(answers, before, after), (answers, before, after)

    return every_schedule(once, switches=SWITCHES, most=MOST)


def alike(before: Any, after: Any) -> bool:
    """Whether a restart left things as they were."""
    if isinstance(before, SessionState):
        return isinstance(after, SessionState) and (after.etag, after.values) == (before.etag, before.values)
    return type(before) is type(after)


@pytest.mark.parametrize("kind", DETERMINISTIC)
def test_s2_an_end_amid_updates(kind: str) -> None:
    def check(answers: list[Any], before: Any, after: Any) -> bool:
        updates, _ = answers
        acked = [each for each in updates if isinstance(each, Updated)]
        refused = updates[len(acked) :]
        assert [each.version for each in acked] == list(range(2, len(acked) + 2))
        assert all(isinstance(each, SessionEnded) for each in refused), "nothing works after the end"
        return isinstance(before, SessionEnded) and alike(before, after)

    seen = in_every_schedule(kind, lambda scene: both(some(scene, 3), scene.verbs.end(ME, "x")), check)
    print(f"{kind}: {seen} schedules")


@pytest.mark.parametrize("kind", DETERMINISTIC)
def test_s2_an_expiry_amid_updates(kind: str) -> None:
    async def expire(scene: Scene) -> None:
        scene.tested.advance(7)
        await asyncio.sleep(0)
        await scene.tested.sweep()

    def check(answers: list[Any], before: Any, after: Any) -> bool:
        acked = [each for each in answers[0] if isinstance(each, Updated)]
        refused = [each for each in answers[0] if not isinstance(each, Updated)]
        assert all(isinstance(each, SessionExpired) for each in refused)
        if len(acked) == 3 and isinstance(before, SessionState):  # nobody but the clock came after
            return before.version == 4 and alike(before, after)
        assert answers[0][: len(acked)] == acked, "what was refused stays refused"
        return isinstance(before, SessionExpired) and alike(before, after)

    in_every_schedule(kind, lambda scene: both(some(scene, 3), expire(scene)), check)


@pytest.mark.parametrize("kind", DETERMINISTIC)
def test_s2_an_id_that_is_used_anew_amid_writes_that_mean_the_old(kind: str) -> None:
    async def anew(scene: Scene) -> SessionState:
        await scene.verbs.end(ME, "x")
        return await scene.verbs.create(ME, NewSession("x", values={"n": "100"}))

    def check(answers: list[Any], before: Any, after: Any) -> bool:
        updates, new = answers
        assert all(isinstance(each, Updated | SessionEnded | Conflict) for each in updates)
        assert all(each.incarnation != new.incarnation for each in updates if isinstance(each, Updated))
        return before.etag == new.etag and before.values == {"n": "100"} and alike(before, after)

    def play(scene: Scene) -> Awaitable[list[Any]]:
        old = Expected(incarnation=scene.born.incarnation)
        return both(some(scene, 2, expected=old), anew(scene))

    in_every_schedule(kind, play, check)


@pytest.mark.parametrize("kind", DETERMINISTIC)
def test_s5_a_write_and_its_retry_together(kind: str) -> None:
    def check(answers: list[Any], before: Any, after: Any) -> bool:
        first, retry = answers[0][0], answers[1][0]
        assert (first.etag, first.incremented) == (retry.etag, retry.incremented) == (before.etag, {"n": 1})
        return before.values == {"n": "1"} and alike(before, after)

    request = RequestKey("r", b"body")
    in_every_schedule(kind, lambda scene: both(some(scene, 1, request=request), some(scene, 1, request=request)), check)


@pytest.mark.parametrize("kind", DETERMINISTIC)
def test_s1_two_writers_and_a_reader_who_is_told_only_what_lasts(kind: str) -> None:
    async def read(scene: Scene) -> list[int]:
        return [int((await scene.verbs.get(ME, "x")).values.get("n", "0")) for _ in range(2)]

    def check(answers: list[Any], before: Any, after: Any) -> bool:
        writes, seen = answers
        assert sorted(each.incremented["n"] for each in writes) == [1, 2]
        assert seen == sorted(seen)
        return before.values == {"n": "2"} and alike(before, after)

    in_every_schedule(kind, lambda scene: both(some(scene, 2), read(scene)), check)


# Cut off at every step, on every store


@pytest.mark.parametrize("kind", KINDS)
async def test_s2_a_write_that_is_cut_off_anywhere_happened_whole_or_not_at_all(kind: str, tmp_path: Path) -> None:
    async with KINDS[kind](tmp_path) as tested:
        verbs = Verbs(tested.store)
        outcomes = set()
        for steps in range(25):
            session_id = f"s{steps}"
            born = await verbs.create(ME, NewSession(session_id, values={"n": "0", "m": "0"}))
            changes = [*ADD, Mutation("m", Increment(1))]
            cut = asyncio.create_task(verbs.update(ME, session_id, changes, ANY, RequestKey("r", b"body")))
            for _ in range(steps):
                await asyncio.sleep(0)
            cut.cancel()
            await asyncio.gather(cut, return_exceptions=True)
            seen = await verbs.get(ME, session_id)
            assert seen.values["n"] == seen.values["m"]
            assert seen.version == born.version + int(seen.values["n"])
            outcomes.add(seen.version)
            # The retry of who does not know has its effect once, whichever it was
            retry = await verbs.update(ME, session_id, changes, ANY, RequestKey("r", b"body"))
            assert (retry.version, retry.incremented) == (2, {"n": 1, "m": 1})
            await verbs.end(ME, session_id)
        if kind != "memory":
            assert outcomes <= {1, 2}


@pytest.mark.parametrize("kind", KINDS)
async def test_s2_an_end_that_is_cut_off_anywhere_lets_nothing_come_back(kind: str, tmp_path: Path) -> None:
    async with KINDS[kind](tmp_path) as tested:
        verbs = Verbs(tested.store)
        for steps in range(25):
            session_id = f"s{steps}"
            await verbs.create(ME, NewSession(session_id))
            late = asyncio.create_task(verbs.update(ME, session_id, ADD))
            cut = asyncio.create_task(verbs.end(ME, session_id))
            for _ in range(steps):
                await asyncio.sleep(0)
            cut.cancel()
            await asyncio.gather(late, cut, return_exceptions=True)
            first = await told(verbs.get(ME, session_id))
            for _ in range(3):
                again = await told(verbs.update(ME, session_id, ADD))
                assert isinstance(again, SessionEnded) == isinstance(first, SessionEnded), "it came back, or went"
            if isinstance(first, SessionEnded):
                assert session_id not in [each.session_id for each in (await verbs.list(ME, {}, 100, "")).sessions]
            else:
                assert not isinstance(first, SessionNotFound)
                await verbs.end(ME, session_id)
