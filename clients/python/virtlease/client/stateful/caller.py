"""Who calls a stateful tool: a program, or an MCP client by FastMCP."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Choice:
    """The session of one call. An empty id is a new session; `told` says whether the caller knows its id."""

    session_id: str = ""
    must_exist: bool = False
    told: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


class Caller(Protocol):
    """What differs between those who call."""

    def choose(self, session_id: str | None) -> Choice:
        """The session for the id that was given, or for none."""
        ...

    def answer(self, result: Any, new_session: str | None) -> Any:
        """The result, with the id of the session if the call began one."""
        ...

    def asks(self, result: Any) -> bool:
        """Whether the result is a question, after whose answer the function is called once more."""
        ...

    def refuse(self, error: Exception) -> Exception:
        """The error that the caller is told of a session that is over."""
        ...


class Program:
    """Calls a function; it may choose ids."""

    def choose(self, session_id: str | None) -> Choice:
        return Choice(session_id or "", told=True)

    def answer(self, result: Any, _new_session: str | None) -> Any:
        return result

    def asks(self, _result: Any) -> bool:
        return False

    def refuse(self, error: Exception) -> Exception:
        return error


class McpClient:
    """Calls a tool of a FastMCP server; it may only use ids that it was given.

    All users of the server share one owner at the session service, so a session carries a label of its user, and is
    no session to anybody else.
    """

    def __init__(self, context: Any) -> None:
        self._context = context

    def choose(self, session_id: str | None) -> Choice:
        labels = {_USER: _user()}
        if session_id:
            return Choice(session_id, must_exist=True, told=True, labels=labels)
        if self._modern():
            return Choice(labels=labels)
        name = hashlib.sha256(f"{labels[_USER]}\0{self._context.session_id}".encode()).hexdigest()
        return Choice(f"mcp-{name}", told=True, labels=labels)

    def answer(self, result: Any, new_session: str | None) -> Any:
        if new_session is None:
            return result
        from fastmcp.tools import ToolResult
        from mcp.types import TextContent
        from pydantic_core import to_jsonable_python

        if isinstance(result, ToolResult):
            note = TextContent(type="text", text=f"session_id: {new_session}")
            structured = {**(result.structured_content or {}), "session_id": new_session}
            return ToolResult([*result.content, note], structured, result.meta, result.is_error)
        plain = to_jsonable_python(result)
        return ToolResult(
            structured_content={**(plain if isinstance(plain, dict) else {"result": plain}), "session_id": new_session}
        )

    def asks(self, result: Any) -> bool:
        from mcp_types import InputRequiredResult

        return isinstance(result, InputRequiredResult)

    def refuse(self, error: Exception) -> Exception:
        from fastmcp.exceptions import ToolError

        return ToolError(f"{error}; leave session_id out to begin a new session")

    def _modern(self) -> bool:
        """Whether the client's protocol has no sessions of its own, as from 2026-07-28 on."""
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        request = self._context.request_context
        return request is not None and request.protocol_version in MODERN_PROTOCOL_VERSIONS


_USER = "mcp-user"


def caller() -> Caller:
    """Who makes the call that is under way."""
    if "fastmcp" in sys.modules:
        from fastmcp.server.dependencies import get_context

        try:
            return McpClient(get_context())
        except RuntimeError:
            pass
    return Program()


def _user() -> str:
    from fastmcp.server.dependencies import get_access_token

    token = get_access_token()
    if token is None:
        return "anonymous"
    subject = (token.claims or {}).get("sub", "")
    return hashlib.sha256(f"{token.client_id}\0{subject}".encode()).hexdigest()
