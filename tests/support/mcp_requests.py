"""MCP requests as they are on the wire, for what no client would send."""

from typing import Any

MODERN = "2026-07-28"


def modern(method: str, meta: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """A request of the modern era, as httpx posts it."""
    full_meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        **(meta or {}),
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method,
    }
    if name := params.get("name") or params.get("uri"):
        headers["Mcp-Name"] = name
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": full_meta}}
    return {"json": body, "headers": headers}
