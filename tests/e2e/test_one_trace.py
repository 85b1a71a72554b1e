"""One trace from the client's `_meta.traceparent` through three processes to the libvirt call."""

import asyncio
from pathlib import Path

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from support.otlp import Received, Span, eventually, otlp_receiver
from support.processes import virtlease_apart

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
OTHER_TRACE_ID = "1" * 32
BY_HEADER = f"00-{OTHER_TRACE_ID}-{'2' * 16}-01"
META = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}


def _complete(received: Received) -> list[Span] | None:
    spans = received.of_trace(TRACE_ID)
    services = {span.service for span in spans}
    return spans if services >= {"virtlease-gateway", "virtlease-session", "virtlease-pool"} else None


async def test_g1_one_trace_from_meta_to_libvirt(tmp_path: Path) -> None:
    # Given the three as separate processes that export to a real receiver
    async with otlp_receiver() as received:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with virtlease_apart(tmp_path, **settings) as (addresses, processes):
            transport = StreamableHttpTransport(addresses.mcp_url, headers={"traceparent": BY_HEADER})
            async with Client(transport) as client:
                created = (await client.call_tool("create_session", {})).structured_content
                session_id = created["session"]["session_id"]
                # If a client sends its trace with a call
                arguments = {"vm_id": "local/test", "session_id": session_id}
                await client.call_tool("suspend_vm", arguments, meta=META)
                # And a call that fails
                failed = await client.call_tool("suspend_vm", arguments, meta=META, raise_on_error=False)
                history = (await client.call_tool("get_session", {"session_id": session_id})).structured_content
            await eventually(lambda: _complete(received))
            for process in processes.values():  # what is left is flushed at the end
                assert await asyncio.to_thread(process.terminate) == 0
        spans = received.of_trace(TRACE_ID)

    # flushed at the end too
    assert {"rpc.server.call.duration", "mcp.server.operation.duration"} <= received.metrics

    # I expect spans of all three in that trace, the libvirt call among them
    names = {(span.service, span.name) for span in spans}
    assert ("virtlease-gateway", "tools/call suspend_vm") in names
    assert ("virtlease-session", "virtlease.session.v1.SessionService/GetSession") in names
    assert ("virtlease-session", "virtlease.session.v1.SessionService/UpdateSession") in names
    assert ("virtlease-pool", "virtlease.pool.v1.VmService/SuspendVm") in names
    assert ("virtlease-pool", "libvirt suspend_vm") in names
    # The trace by which the HTTP request came linked to the client's, which is the parent
    tool_call = next(span for span in spans if span.name == "tools/call suspend_vm")
    assert tool_call.parent_id == SPAN_ID
    assert tool_call.links == (OTHER_TRACE_ID,)
    assert tool_call.attributes["gen_ai.tool.name"] == "suspend_vm"
    assert session_id not in str(tool_call.attributes)
    assert received.of_trace(OTHER_TRACE_ID)  # the calls without _meta
    # In one tree that hangs from the client's span
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.parent_id == SPAN_ID or span.parent_id in by_id, f"{span.name} hangs in the air"
    libvirt = next(span for span in spans if span.name == "libvirt suspend_vm")
    assert _root_of(libvirt, by_id).parent_id == SPAN_ID
    # And the trace's id in the error and in the history
    assert failed.structured_content["error"]["trace_id"] == TRACE_ID
    entries = history["session"]["values"]["_history"]
    assert [(entry["outcome"], entry["trace_id"]) for entry in entries] == [
        ("OK", TRACE_ID),
        ("ALREADY_IN_STATE", TRACE_ID),
    ]


def _root_of(span: Span, by_id: dict[str, Span]) -> Span:
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
    return span
