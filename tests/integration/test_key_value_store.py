"""The py-key-value store over the session service keeps the contract of its protocol, and serves FastMCP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fastmcp import Client, Context, FastMCP
from key_value.aio.errors import InvalidTTLError, SerializationError
from key_value.aio.protocols import AsyncKeyValue
from support.processes import BIN, Addresses, clean_environment, running

from virtlease.client.errors import CallFailed
from virtlease.key_value import SessionStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A caller chooses ids only where they are the owner's own: the Unix socket, or with a token.
SOCKET = "session.sock"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("kv")
    where = f"unix:{folder / SOCKET}"
    env = clean_environment(**Addresses.free().settings | {"VIRTLEASE_SESSION_ADDRESS": where})
    with running(folder, "session", str(BIN / "virtlease"), "session", env=env) as process:
        process.wait_for("session service on")
        yield where


@pytest_asyncio.fixture(loop_scope="module")
async def store(address: str, request: pytest.FixtureRequest) -> AsyncIterator[SessionStore]:
    async with SessionStore(address, collection=request.node.name) as store:
        yield store


async def test_it_is_of_the_protocol_and_empty_at_first(store: SessionStore) -> None:
    assert isinstance(store, AsyncKeyValue)
    assert await store.get("a") is None
    assert await store.ttl("a") == (None, None)
    assert await store.delete("a") is False


async def test_what_is_put_is_got_until_it_is_deleted(store: SessionStore) -> None:
    for value in ({"n": 1}, {"n": [1, None, 1.5, True, {"ä": "ö"}]}, {}):
        await store.put("a", value)
        assert await store.get("a") == value
    assert await store.get("a", collection="another") is None
    assert await store.delete("a") is True
    assert await store.get("a") is None
    assert await store.delete("a") is False
    await store.put("a", {"n": 2})
    assert await store.get("a") == {"n": 2}


async def test_many_at_once(store: SessionStore) -> None:
    await store.put_many(["a", "b"], [{"n": 1}, {"n": 2}])
    assert await store.get_many(["a", "b", "c"]) == [{"n": 1}, {"n": 2}, None]
    assert await store.delete_many(["a", "b", "c"]) == 2
    assert await store.ttl_many(["a", "c"]) == [(None, None), (None, None)]
    with pytest.raises(ValueError, match="different number"):
        await store.put_many(["a"], [])


async def test_an_entry_lives_as_long_as_it_was_told(store: SessionStore) -> None:
    await store.put("a", {"n": 1}, ttl=100)
    value, ttl = await store.ttl("a")
    assert value == {"n": 1}
    assert 98 < (ttl or 0) <= 100
    await store.put("a", {"n": 2})  # and, put again without one, for longer
    assert await store.ttl("a") == ({"n": 2}, None)
    await store.put("a", {"n": 3}, ttl=0.3)
    await asyncio.sleep(0.4)
    assert await store.get("a") is None
    await store.put("a", {"n": 4}, ttl=200)
    assert await store.get("a") == {"n": 4}
    with pytest.raises(InvalidTTLError):
        await store.put("a", {}, ttl=-1)


async def test_reading_does_not_prolong_an_entry(store: SessionStore) -> None:
    await store.put("a", {"n": 1}, ttl=1.2)
    async with asyncio.timeout(10):
        while await store.get("a") is not None:
            await asyncio.sleep(0.2)


async def test_any_name_and_a_large_value(store: SessionStore) -> None:
    for name in ("x" * 5000, "!@#$%^&*() /\\ä", "_system"):
        await store.put(name, {"n": name[:3]}, collection=name)
        assert await store.get(name, collection=name) == {"n": name[:3]}
    large = {"text": '"\\ä' * 60_000}
    await store.put("large", large)
    assert await store.get("large") == large
    await store.put("large", {"n": 1})  # the pieces of the former value are gone
    assert await store.get("large") == {"n": 1}
    with pytest.raises(CallFailed):
        await store.put("large", {"text": "x" * 2_000_000})
    assert await store.get("large") == {"n": 1}


async def test_what_is_no_json_is_refused(store: SessionStore) -> None:
    with pytest.raises(SerializationError):
        await store.put("a", {"n": object()})
    assert await store.get("a") is None


async def test_writers_at_the_same_time_leave_one_whole_value(store: SessionStore, address: str) -> None:
    async with SessionStore(address, collection=store.default_collection) as other:
        seen: list[Any] = []

        async def write(target: SessionStore, number: int) -> None:
            for round_ in range(10):
                await target.put("a", {"writer": number, "round": round_})
                seen.append(await target.get("a"))

        await asyncio.gather(*(write(each, number) for number, each in enumerate((store, other, store, other))))
        # A value is replaced in place: there is always one
        assert all(value is not None for value in seen)
        assert await store.get("a") == await other.get("a")


async def test_an_entry_whose_session_is_near_its_end_gets_another(tmp_path: Path) -> None:
    where = f"unix:{tmp_path / SOCKET}"
    settings = {
        "VIRTLEASE_SESSION_ADDRESS": where,
        "VIRTLEASE_SESSION_MAX_LIFE": "4",
        "VIRTLEASE_SESSION_IDLE_TTL": "4",
    }
    with running(tmp_path, "session", str(BIN / "virtlease"), "session", env=clean_environment(**settings)) as process:
        process.wait_for("session service on")
        async with SessionStore(where) as store:
            for number in range(8):  # longer than a session lives at most
                await store.put("a", {"n": number})
                await asyncio.sleep(0.7)
                assert await store.get("a") == {"n": number}


async def test_a_fastmcp_server_keeps_its_state_there(address: str) -> None:
    async def count(ctx: Context) -> int:
        number = int(await ctx.get_state("n") or 0) + 1
        await ctx.set_state("n", number)
        return number

    async with SessionStore(address) as store:
        server = FastMCP("counting", session_state_store=store)
        server.tool(count)
        async with Client(server, mode="legacy") as client:
            assert [(await client.call_tool("count", {})).data for _ in range(3)] == [1, 2, 3]


async def test_without_a_target_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTLEASE_CLIENT_SESSION_TARGET", raising=False)
    with pytest.raises(ValueError, match="VIRTLEASE_CLIENT_SESSION_TARGET"):
        SessionStore()
