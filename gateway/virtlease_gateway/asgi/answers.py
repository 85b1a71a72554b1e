"""Refusals as MCP clients read them: an HTTP status with a JSON-RPC error."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response


def refusal(
    status: int,
    code: int,
    message: str,
    *,
    data: Any = None,
    request_id: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response that refuses a request before any handler has seen it. `code` is JSON-RPC's."""
    error = {"code": code, "message": message, **({} if data is None else {"data": data})}
    body = {"jsonrpc": "2.0", "id": request_id, "error": error}
    return Response(orjson.dumps(body), status, dict(headers or {}), media_type="application/json")


def header(scope: Mapping[str, Any], name: bytes) -> str | None:
    """A header of an ASGI request; `name` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None
