"""Sessions as mappings, on a service in this process and on one in another."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from support.certificates import Authority
from support.identities import TOKENS, write_identities
from support.processes import BIN, clean_environment, free_port, running
from support.session_server import serve_sessions

from virtlease import (
    Closed,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotJson,
    ServiceUnavailable,
    SessionConflict,
    SessionEnded,
    SessionExpired,
    SessionManager,
    SessionNotFound,
    StaleValue,
    Target,
    aio,
)
from virtlease_chassis.clock import FakeClock
from virtlease_session.limits import Limits
from virtlease_session.store.memory import MemoryStore


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session service in a process of its own."""
    address = f"127.0.0.1:{free_port()}"
    env = clean_environment(VIRTLEASE_SESSION_ADDRESS=address, VIRTLEASE_METRICS_ADDRESS="127.0.0.1:0")
    with running(tmp_path_factory.mktemp("session"), "session", str(BIN / "virtlease"), "session", env=env) as process:
        process.wait_for("session service on")
        yield address


@pytest.fixture(params=["embedded", "service"])
def target(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "embedded" else str(request.getfixturevalue("service"))


@pytest.fixture
def manager(target: str | None) -> Iterator[SessionManager]:
    with SessionManager(target=target) as found:
        yield found


# A session as a mapping


def test_a_statement_is_acknowledged_before_the_next(manager) -> None:
    session = manager.get_or_create()

    def there() -> Any:
        return manager.get(session.id).data

    session["a"] = {"x": 1}
    assert there() == {"a": {"x": 1}}
    session["a"]["x"] = 2
    assert there() == {"a": {"x": 2}}
    session["log"] = []
    session["log"].append("one")
    session["log"] += ["two"]
    assert there() == {"a": {"x": 2}, "log": ["one", "two"]}
    session["log"][0] = 1
    del session["a"]
    assert there() == {"log": [1, "two"]} == session.data
    session.update(b=2, c=3)
    assert session.pop("b") == 2
    assert session.setdefault("d", []) == []
    session["d"].append(4)
    assert there() == {"log": [1, "two"], "c": 3, "d": [4]}
    session.clear()
    assert there() == {}


def test_it_is_a_mapping_and_true_even_when_it_is_empty(manager) -> None:
    session = manager.get_or_create(values={"a": 1}, labels={"kind": "test"})
    assert (len(session), list(session), "a" in session, "b" in session, 5 in session) == (1, ["a"], True, False, False)
    assert (session.get("b"), session.get("b", 2), dict(session)) == (None, 2, {"a": 1})
    assert session.labels == {"kind": "test"}
    assert manager.get_or_create()
    with pytest.raises(KeyError):
        session["b"]
    with pytest.raises(TypeError):
        session[1] = 2
    assert session.id not in repr(session)


def test_it_tells_how_long_it_lives(manager) -> None:
    session = manager.get_or_create(ttl=100)
    assert 98 < session.ttl_remaining <= 100
    assert timedelta(seconds=95) < session.expires_at - datetime.now(UTC) < timedelta(seconds=105)
    assert 198 < manager.refresh(session.id, ttl=200) <= 200
    assert 198 < manager.get(session.id).ttl_remaining <= 200


def test_get_or_create_returns_what_is_there(manager) -> None:
    name = f"chosen-{os.urandom(4).hex()}"
    assert manager.get(name) is None
    manager.get_or_create(name)["a"] = 1
    assert manager.get_or_create(name, values={"a": 2}).data == {"a": 1}


def test_a_session_that_is_over_says_so(manager) -> None:
    session = manager.get_or_create()
    assert manager.end_session(session.id) is True
    assert manager.end_session(session.id) is False
    assert manager.get(session.id) is None
    with pytest.raises(SessionEnded):
        session["a"] = 1
    with pytest.raises(SessionEnded):
        manager.refresh(session.id)
    with pytest.raises(SessionNotFound):
        manager.refresh("never-was")
    assert session.data == {}  # what could not be written is not there


def test_a_handle_is_of_one_session_even_if_its_id_is_used_anew(manager) -> None:
    name = f"again-{os.urandom(4).hex()}"
    old = manager.get_or_create(name)
    manager.end_session(name)
    new = manager.get_or_create(name)
    with pytest.raises(SessionEnded):
        old["a"] = 1
    new.reload()
    assert new.data == {}


# Others


def test_a_conflict_between_reading_and_writing_raises(manager) -> None:
    mine = manager.get_or_create(values={"n": 1, "free": 0})
    theirs = manager.get(mine.id)
    before = mine["n"]
    theirs["n"] = 10
    with pytest.raises(SessionConflict, match="update"):
        mine["n"] = before + 1
    assert mine["n"] == 10  # it was read anew
    mine["n"] += 1
    theirs["free"] = 1  # never read: simply set
    assert manager.get(mine.id).data == {"n": 11, "free": 1}


def test_a_deep_write_does_not_undo_anothers(manager) -> None:
    mine = manager.get_or_create(values={"vms": {"a": "off", "b": "off"}})
    theirs, value = manager.get(mine.id), mine["vms"]
    theirs["vms"]["a"] = "on"
    with pytest.raises(SessionConflict):
        value["b"] = "on"
    with pytest.raises(StaleValue):
        value["b"] = "on"
    mine["vms"]["b"] = "on"
    assert manager.get(mine.id).data == {"vms": {"a": "on", "b": "on"}}


def test_50_appends_at_once_keep_50(manager) -> None:
    session_id = manager.get_or_create().id

    def append(number: int) -> None:
        session = manager.get(session_id)
        if "log" not in session:
            session["log"] = []
        session["log"].append(number)

    with ThreadPoolExecutor(50) as threads:
        list(threads.map(append, range(50)))
    assert sorted(manager.get(session_id)["log"]) == list(range(50))


def test_one_session_object_in_many_threads_loses_nothing(manager) -> None:
    session = manager.get_or_create(values={"log": []})
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: session["log"].append(number), range(50)))
    assert sorted(manager.get(session.id)["log"]) == list(range(50))


def test_update_does_it_over_until_nobody_came_between(manager) -> None:
    session_id = manager.get_or_create(values={"n": 0}).id

    def count(session: Any) -> int:
        session["n"] += 1
        session["double"] = session["n"] * 2
        return int(session["n"])

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda _: manager.get(session_id).update(count), range(24)))
    assert sorted(seen) == list(range(1, 25))
    assert manager.get(session_id).data == {"n": 24, "double": 48}


def test_an_update_whose_function_raises_writes_nothing(manager) -> None:
    session = manager.get_or_create(values={"n": 0})

    def fails(session: Any) -> None:
        session["n"] = 5
        raise RuntimeError

    with pytest.raises(RuntimeError):
        session.update(fails)
    assert session.data == manager.get(session.id).data == {"n": 0}


def test_a_write_that_is_refused_leaves_nothing_behind(manager) -> None:
    session = manager.get_or_create(values={"a": [1]})
    with pytest.raises(InvalidRequest, match="larger"):
        session["b"] = "x" * 70_000
    with pytest.raises(InvalidRequest):
        session["_system"] = 1
    with pytest.raises(NotJson, match=r"session\['a'\]\[1\]"):
        session["a"].append({1, 2})
    session["c"] = 1
    assert session.data == manager.get(session.id).data == {"a": [1], "c": 1}


# The asynchronous twin


async def test_the_twin_writes_at_commit_or_at_the_end_of_the_block(target) -> None:
    async with aio.SessionManager(target=target) as manager:
        session = await manager.get_or_create()
        session["a"] = 1
        session["log"] = [0]
        session["log"].append(1)
        assert (await manager.get(session.id)).data == {}
        await session.commit()
        await session.commit()
        assert (await manager.get(session.id)).data == {"a": 1, "log": [0, 1]}
        async with session:
            session["a"] = 2

        async def fail() -> None:
            async with again:
                again["a"] = 3
                raise RuntimeError

        again = await manager.get_or_create(session.id)
        with pytest.raises(RuntimeError):
            await fail()
        found = await manager.get(session.id)
        assert (found.data, again.data) == ({"a": 2, "log": [0, 1]}, {"a": 2, "log": [0, 1]})
        assert await manager.refresh(session.id) > 3590
        assert [await manager.end_session(session.id) for _ in range(2)] == [True, False]
        assert await manager.get(session.id) is None


async def test_the_twin_keeps_50_appends_and_updates_over(target) -> None:
    async with aio.SessionManager(target=target) as manager:
        session_id = (await manager.get_or_create(values={"n": 0})).id

        async def append(number: int) -> None:
            async with manager.get_or_create(session_id) as session:
                if "log" not in session:
                    session["log"] = []
                session["log"].append(number)

        async def count(session: aio.Session) -> None:
            before = session["n"]
            await asyncio.sleep(0)
            session["n"] = before + 1

        async def update() -> None:
            await (await manager.get(session_id)).update(count)

        await asyncio.gather(*map(append, range(50)), *(update() for _ in range(10)))
        found = await manager.get(session_id)
        assert sorted(found["log"]) == list(range(50))
        assert found["n"] == 10


async def test_the_twin_raises_a_conflict_at_commit(target) -> None:
    async with aio.SessionManager(target=target) as manager:
        mine = await manager.get_or_create(values={"n": 1})
        theirs = await manager.get(mine.id)
        mine["n"] += 1
        theirs["n"] += 2
        await theirs.commit()
        with pytest.raises(SessionConflict):
            await mine.commit()
        assert mine["n"] == 3


def test_one_manager_serves_many_loops_and_threads(target) -> None:
    manager = aio.SessionManager(target=target)

    async def use() -> None:
        async with manager.get_or_create("shared-by-loops") as session:
            session.setdefault("log", [])
            session["log"].append(threading.get_ident())

    for _ in range(2):
        asyncio.run(use())
    threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    async def read() -> list[int]:
        found = await manager.get("shared-by-loops")
        assert found is not None
        await manager.end_session(found.id)
        await manager.close()
        return list(found["log"])

    assert len(asyncio.run(read())) == 6


# What can be wrong


def test_a_manager_that_was_closed_says_so() -> None:
    manager = SessionManager()
    session = manager.get_or_create()
    manager.close()
    manager.close()
    with pytest.raises(Closed, match="session manager was closed"):
        manager.get(session.id)


def test_embedded_sessions_outlive_the_manager_in_a_data_dir(tmp_path) -> None:
    with SessionManager(data_dir=tmp_path) as manager:
        manager.get_or_create("kept")["a"] = 1
    with SessionManager(data_dir=tmp_path) as manager:
        assert manager.get("kept").data == {"a": 1}


def test_a_service_that_is_not_there_is_named() -> None:
    with (
        SessionManager(target=f"127.0.0.1:{free_port()}", timeout=2) as manager,
        pytest.raises(ServiceUnavailable, match=r"session service at 127.0.0.1:\d+ was not reached: is it running"),
    ):
        manager.get_or_create()


@pytest.mark.parametrize("wrong", ["", "https://host:1", "host://x"])
def test_a_target_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="target"):
        Target(wrong)


def test_an_empty_target_is_no_wish_for_an_embedded_service() -> None:
    with pytest.raises(ValueError, match="target"):
        SessionManager(target="")


def test_a_target_shows_no_token() -> None:
    assert "secret" not in repr(Target("127.0.0.1:1", token="secret"))


async def test_tokens_and_tls(tmp_path, monkeypatch) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("session")
    store = MemoryStore(FakeClock(), Limits(), 100)
    async with serve_sessions(
        store, identity_file=write_identities(tmp_path), tls_certificate=pair.certificate, tls_key=pair.key
    ) as server:
        address = str(server.addresses[0])

        async def owner_sees(token: str | None, ca: Path | None) -> bool:
            async with aio.SessionManager(target=Target(address, token=token, tls_ca=ca), timeout=3) as manager:
                return await manager.get("of-alice") is not None

        alice = Target(address, token=lambda: TOKENS["alice"], tls_ca=authority.certificate)
        async with aio.SessionManager(target=alice) as manager:
            await manager.get_or_create("of-alice")
        assert await owner_sees(TOKENS["alice"], authority.certificate)
        assert not await owner_sees(TOKENS["bob"], authority.certificate)
        with pytest.raises(NotAuthenticated, match="the token was not accepted: set token="):
            await owner_sees("wrong", authority.certificate)
        with pytest.raises(NotAuthenticated, match="no token was given"):
            await owner_sees(None, authority.certificate)
        with pytest.raises(ServiceUnavailable, match="plain text, without TLS"):
            await owner_sees(TOKENS["alice"], None)
        reader = Target(address, token=TOKENS["reader"], tls_ca=authority.certificate)
        async with aio.SessionManager(target=reader) as manager:
            with pytest.raises(NotAllowed, match="session:write"):
                await manager.get_or_create()
        # The same by the environment alone
        monkeypatch.setenv("VIRTLEASE_CLIENT_SESSION_TARGET", address)
        monkeypatch.setenv("VIRTLEASE_CLIENT_TOKEN", TOKENS["alice"])
        monkeypatch.setenv("VIRTLEASE_CLIENT_TLS_CA", str(authority.certificate))
        async with aio.SessionManager() as manager:
            assert await manager.get("of-alice") is not None


async def test_an_expired_session_says_so() -> None:
    clock = FakeClock()
    async with (
        serve_sessions(MemoryStore(clock, Limits(), 100)) as server,
        aio.SessionManager(ttl=60, target=str(server.addresses[0])) as manager,
    ):
        session = await manager.get_or_create()
        clock.advance(61)
        session["a"] = 1
        with pytest.raises(SessionExpired):
            await session.commit()
        assert await manager.get(session.id) is None


async def test_the_trace_of_the_caller_goes_along(tmp_path) -> None:
    async with (
        serve_sessions(MemoryStore(FakeClock(), Limits(), 100)) as server,
        aio.SessionManager(target=str(server.addresses[0])) as manager,
    ):
        tracer = TracerProvider().get_tracer("test")
        with tracer.start_as_current_span("caller") as span, pytest.raises(SessionNotFound) as caught:
            await manager.refresh("never-was")
    assert caught.value.metadata["trace_id"] == trace.format_trace_id(span.get_span_context().trace_id)


def python(program: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program as users do."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(**env),
        check=False,
    )


def test_the_child_of_a_fork_is_told_to_open_another(service) -> None:
    ran = python(
        f"""
import os
from virtlease import Closed, SessionManager
manager = SessionManager(target={service!r})
session = manager.get_or_create()
if os.fork() == 0:
    try:
        session["a"] = 1
    except Closed as error:
        os._exit(7 if "open another one in the child" in str(error) else 8)
    os._exit(9)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
session["a"] = 1
print(session.data)
"""
    )
    assert (ran.returncode, ran.stdout) == (0, "{'a': 1}\n"), ran.stderr


def test_a_program_that_closes_nothing_ends_quietly() -> None:
    ran = python("import virtlease\ns = virtlease.SessionManager().get_or_create()\ns['a'] = 1\nprint(s.data)")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "{'a': 1}\n", "")


def test_without_the_server_package_it_says_what_to_install() -> None:
    ran = python(
        """
import sys
sys.modules["virtlease_session"] = None
import virtlease
try:
    virtlease.SessionManager().get_or_create()
except virtlease.ServerMissing as error:
    print(isinstance(error, ImportError), error)
"""
    )
    assert ran.stdout.startswith("True embedded use needs the services"), ran.stderr
    assert "pip install 'virtlease[server]'" in ran.stdout
    assert "target=" in ran.stdout


def test_importing_it_loads_next_to_nothing() -> None:
    heavy = {"grpc", "google.protobuf", "opentelemetry", "asyncio", "libvirt", "fastmcp"}
    ran = python(f"import sys, virtlease\nprint(sorted({heavy!r} & set(sys.modules)))")
    assert ran.stdout == "[]\n", ran.stderr
