"""Unary calls of the session service against an empty RPC on the same server settings, driven by h2load."""

import contextlib
import functools

import grpc
from google.protobuf.empty_pb2 import Empty

from bench.drive import h2load
from bench.report import Report
from bench.rounds import alternate
from bench.servers import CALLER, module, session_service
from bench.servers.empty import METHOD
from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_service_pb2_grpc as rpc

SERVICE = "/virtlease.session.v1.SessionService"


async def run(report: Report) -> None:
    table = report.table("Unary, memory store, 64 in flight from h2load", "calls/s")
    with contextlib.ExitStack() as stack:
        empty = stack.enter_context(module("empty"))
        ours = stack.enter_context(session_service())
        async with grpc.aio.insecure_channel(ours.address) as channel:
            stub = rpc.SessionServiceStub(channel)
            values = {f"key{n}": '"some text"' for n in range(4)}
            created = await stub.CreateSession(calls.CreateSessionRequest(values=values), metadata=CALLER)
            session_id = created.session.session_id
            get = calls.GetSessionRequest(session_id=session_id)
            update = calls.UpdateSessionRequest(session_id=session_id)
            update.mutations.add(key="key0", set='"other text"')
            load = functools.partial(h2load, seconds=report.seconds)
            found = await alternate(
                report,
                {
                    "empty": lambda: load(empty.address, METHOD, Empty()),
                    "empty with a token": lambda: load(empty.address, METHOD, Empty(), metadata=CALLER),
                    "get": lambda: load(ours.address, f"{SERVICE}/GetSession", get, metadata=CALLER),
                    "update": lambda: load(ours.address, f"{SERVICE}/UpdateSession", update, metadata=CALLER),
                },
            )
            # h2load cannot see whether a call succeeded: the version says that the updates did
            seen = (await stub.GetSession(get, metadata=CALLER)).session
            updates = int(seen.etag.rpartition("-")[2])
            assert updates > found["update"].median * report.seconds * report.rounds * 0.5, "updates failed"
    table.row("empty unary RPC, no interceptors", found["empty"])
    table.row("the same, sent with a bearer token", found["empty with a token"], "which nobody looks at")
    table.ratio("GetSession, four values", found["get"], found["empty"], "empty", at_least=0.85)
    table.ratio("UpdateSession, one key", found["update"], found["empty"], "empty", at_least=0.85)
