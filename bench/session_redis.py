"""Sessions in Redis: unary calls, the Pipeline, and FastMCP's own sessions on the same server.

The server is redis-server without persistence; it has one of the machine's cores for itself only as far as client and
service leave it one.
"""

import contextlib
import functools

import grpc
import redis.asyncio
from google.protobuf.empty_pb2 import Empty
from support.fastmcp_sessions import fastmcp_session

from bench.drive import h2load, rate
from bench.report import Report
from bench.rounds import alternate
from bench.servers import CALLER, Server, module, redis_server, session_service
from bench.servers.empty import METHOD
from bench.session import SERVICE
from bench.session_pipeline import CALLERS, VALUE, ours
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_service_pb2_grpc as rpc
from virtlease_chassis.redis_url import parse
from virtlease_session.limits import Limits
from virtlease_session.model import Create as CreateVerb
from virtlease_session.model import Mutation, NewSession, SessionState, Set, Update
from virtlease_session.store.redis import RedisStore
from virtlease_session.store.redis.keys import Keys
from virtlease_session.store.redis.scripts import Scripts
from virtlease_session.store.redis.verbs import VerbWords

OWNER = "acme/alice"
HISTORY = 10_000


async def run(report: Report) -> None:
    with redis_server() as server, session_service(VIRTLEASE_SESSION_REDIS_URL=f"redis://{server.address}") as service:
        await unary(report, service)
        await pipelined(report, server, service)
        await beside_fastmcp(report, server, service)


async def unary(report: Report, service: Server) -> None:
    table = report.table("Unary, Redis store, 64 in flight from h2load", "calls/s")
    with module("empty") as empty:
        async with grpc.aio.insecure_channel(service.address) as channel:
            stub = rpc.SessionServiceStub(channel)
            values = {f"key{n}": '"some text"' for n in range(4)}
            created = await stub.CreateSession(calls.CreateSessionRequest(values=values), metadata=CALLER)
            get = calls.GetSessionRequest(session_id=created.session.session_id)
            update = calls.UpdateSessionRequest(session_id=created.session.session_id)
            update.mutations.add(key="key0", set='"other text"')
            load = functools.partial(h2load, seconds=report.seconds)
            found = await alternate(
                report,
                {
                    "empty": lambda: load(empty.address, METHOD, Empty()),
                    "get": lambda: load(service.address, f"{SERVICE}/GetSession", get, metadata=CALLER),
                    "update": lambda: load(service.address, f"{SERVICE}/UpdateSession", update, metadata=CALLER),
                },
            )
            seen = (await stub.GetSession(get, metadata=CALLER)).session
            assert int(seen.etag.rpartition("-")[2]) > found["update"].median * report.seconds, "updates failed"
    table.row("empty unary RPC, no interceptors", found["empty"])
    table.ratio("GetSession, four values", found["get"], found["empty"], "empty", at_least=0.5)
    table.ratio("UpdateSession, one key, one session", found["update"], found["empty"], "empty", at_least=0.5)


async def pipelined(report: Report, server: Server, service: Server) -> None:
    """Through the service against the same script, called by redis-py from the client's process."""
    table = report.table(f"Updates over the network, {CALLERS} callers in one Python process", "updates/s")
    async with contextlib.AsyncExitStack() as stack:
        mine = await stack.enter_async_context(ours(service))
        client = redis.asyncio.Redis(port=server.port, protocol=3)
        stack.push_async_callback(client.aclose)
        store = RedisStore(parse(f"redis://{server.address}"), "direct", 5, Limits(), HISTORY)
        await store.open()
        stack.push_async_callback(store.close)
        keys = Keys("direct")
        words = VerbWords(keys, Scripts(Limits(), keys.channel, HISTORY), lambda: "")
        updates = []
        for state in await store.execute([CreateVerb(OWNER, NewSession()) for _ in range(CALLERS)]):
            assert isinstance(state, SessionState)
            updates.append(Update(OWNER, state.session_id, [Mutation("key", Set(VALUE))]))

        async def script(number: int) -> None:
            reply = await client.execute_command(*words.words(updates[number])[1])
            assert reply[0] == b"ok"

        async def in_process(number: int) -> None:
            await store.execute((updates[number],))

        found = await alternate(
            report,
            {
                "script": lambda: rate(report.seconds, CALLERS, script),
                "pipeline": lambda: rate(report.seconds, CALLERS, mine.by_pipeline),
                "store": lambda: rate(report.seconds, CALLERS, in_process),
            },
        )
    table.row("redis-py, the same script call by call", found["script"], "no service: the client is trusted with Redis")
    table.ratio("Pipeline, Redis store", found["pipeline"], found["script"], "script", at_least=1.5)
    table.ratio("the store alone, in the client's process", found["store"], found["script"], "script")


async def beside_fastmcp(report: Report, server: Server, service: Server) -> None:
    """Writers that each set a key of their own, in one session that they share."""
    table = report.table(f"{CALLERS} writers, each with a key of its own in one session", "updates/s")
    async with ours(service) as mine, fastmcp_session(server.port) as theirs:
        session_id = mine.ids[0]
        steps = {"ours": [0] * CALLERS, "theirs": [0] * CALLERS}

        async def our_set(writer: int) -> None:
            request = calls.UpdateSessionRequest(session_id=session_id)
            request.mutations.add(key=f"key{writer}", set=str(steps["ours"][writer] + 1))
            await mine.pipeline.update(request, timeout=30)
            steps["ours"][writer] += 1

        async def their_set(writer: int) -> None:
            await theirs.set(f"key{writer}", steps["theirs"][writer] + 1)
            steps["theirs"][writer] += 1

        found = await alternate(
            report,
            {
                "theirs": lambda: rate(report.seconds, CALLERS, their_set),
                "ours": lambda: rate(report.seconds, CALLERS, our_set),
            },
        )
        state = await mine.stub.GetSession(calls.GetSessionRequest(session_id=session_id), metadata=CALLER)
        kept = [state.session.values.get(f"key{writer}") == str(step) for writer, step in enumerate(steps["ours"])]
        their_kept = [await theirs.get(f"key{writer}") == step for writer, step in enumerate(steps["theirs"])]
    lost, their_lost = kept.count(False), their_kept.count(False)
    assert not lost
    table.row("FastMCP Session on its RedisStore", found["theirs"], f"{their_lost} of {CALLERS} last updates are lost")
    remark = f"{lost} of {CALLERS} are lost"
    table.ratio("Pipeline, Redis store", found["ours"], found["theirs"], "FastMCP", at_least=1, remark=remark)
