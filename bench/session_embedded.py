"""Sessions without a network: our memory store in process against py-key-value's MemoryStore.

Ours checks the owner, moves the deadline, bumps the version; py-key-value's keeps a value with a time to live.
"""

from key_value.aio.stores.memory import MemoryStore as PyKeyValueMemoryStore

from bench.drive import rate
from bench.report import Report
from bench.rounds import alternate
from virtlease_chassis.clock import SystemClock
from virtlease_session.limits import Limits
from virtlease_session.model import Create, Get, Mutation, NewSession, SessionState, Set, Update
from virtlease_session.store.memory import MemoryStore

OWNER, SESSIONS = "acme/alice", 1000
TEXT = '"' + "x" * 98 + '"'


async def run(report: Report) -> None:
    table = report.table(f"In process, one caller, {SESSIONS} sessions", "calls/s")
    theirs = PyKeyValueMemoryStore()
    ours = MemoryStore(SystemClock(), Limits(), 1000)
    ids = []
    for number in range(SESSIONS):
        await theirs.put(str(number), {"key": "x" * 98}, ttl=3600)
        (state,) = await ours.execute([Create(OWNER, NewSession(values={"key": TEXT}))])
        assert isinstance(state, SessionState)
        ids.append(state.session_id)
    turn = 0

    def next_number() -> int:
        nonlocal turn
        turn = (turn + 1) % SESSIONS
        return turn

    async def our_get(_: int) -> None:
        (answer,) = await ours.execute((Get(OWNER, ids[next_number()]),))
        assert isinstance(answer, SessionState)

    async def our_set(_: int) -> None:
        await ours.execute((Update(OWNER, ids[next_number()], [Mutation("key", Set(TEXT))]),))

    async def their_get(_: int) -> None:
        assert await theirs.get(str(next_number()))

    async def their_set(_: int) -> None:
        await theirs.put(str(next_number()), {"key": "x" * 98}, ttl=3600)

    sides = {"get": our_get, "set": our_set, "their get": their_get, "their set": their_set}
    found = await alternate(
        report, {name: lambda call=call: rate(report.seconds, 1, call) for name, call in sides.items()}
    )
    table.row("py-key-value MemoryStore, get", found["their get"])
    table.row("py-key-value MemoryStore, put", found["their set"])
    table.ratio("MemoryStore, get", found["get"], found["their get"], "their get", at_least=10)
    table.ratio("MemoryStore, update", found["set"], found["their set"], "their put", at_least=10)
