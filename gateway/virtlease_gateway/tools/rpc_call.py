"""One RPC as a tool call: check the session, translate, call, translate, record."""

import time
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fastmcp.server.dependencies import get_context
from fastmcp.tools import ToolResult
from fastmcp.utilities.types import Image as ImageContent
from google.protobuf.message import Message
from mcp_types import ContentBlock, TextContent
from opentelemetry import trace

from virtlease.client import CallFailed
from virtlease_chassis.identity import Principal
from virtlease_chassis.telemetry import trace_id_of
from virtlease_gateway.backend import Backend
from virtlease_gateway.contracts import RpcTool
from virtlease_gateway.failures import ToolFailure, bad_arguments, call_failure
from virtlease_gateway.sessions import Sessions, history_entry
from virtlease_gateway.tools.roles import Roles
from virtlease_gateway.translate import ArgumentDecoder, BadArguments, ResultEncoder
from virtlease_gateway.users import current_user

SESSION_ARGUMENT = "session_id"
HISTORY_NOT_RECORDED = "history_not_recorded"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a call came to: its result, or why it failed."""

    result: ToolResult | None = None
    failure: ToolFailure | None = None

    @property
    def word(self) -> str:
        """What the history says of it."""
        return self.failure.reason if self.failure else "OK"


class RpcCall:
    """Carries out the calls of one tool. `sessions` is None for the tools of a service that has sessions of its own."""

    def __init__(self, tool: RpcTool, backend: Backend, sessions: Sessions | None, offered: Container[str]) -> None:
        """`offered` are the names of all tools, for hints."""
        self.tool = tool
        self._backend = backend
        self._sessions = sessions
        self._offered = offered
        self._roles = Roles.of(tool.method)
        self._decoder = ArgumentDecoder(tool.method.input_type)
        self._encoder = ResultEncoder(self._roles.result_type)

    @property
    def takes_session(self) -> bool:
        """Whether the tool has the argument `session_id` from the gateway."""
        return self._sessions is not None

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        """Runs the tool. A failure is a result too, marked as an error."""
        trace_id = trace_id_of(trace.get_current_span())
        user = current_user()
        rest = dict(arguments)
        session_id = rest.pop(SESSION_ARGUMENT, None) if self._sessions else None
        try:
            if session_id is not None:
                await self._check_session(session_id, user)
        except ToolFailure as failure:
            return failure.to_result(trace_id, self._offered)
        started, clock = datetime.now(UTC), time.perf_counter()
        outcome = await self._act(rest, user)
        result = outcome.result or outcome.failure.to_result(trace_id, self._offered)  # type: ignore[union-attr]
        if session_id is None or self._sessions is None:
            return result
        recorded = await self._sessions.record(
            session_id,
            user,
            history_entry(
                command=self.tool.name,
                vm_id=str(rest.get(self._roles.vm, "")),
                arguments=self._roles.without_secrets(rest),
                started=started,
                outcome=outcome.word,
                seconds=time.perf_counter() - clock,
                trace_id=trace_id,
            ),
        )
        return result if recorded else _with_warning(result)

    async def _check_session(self, session_id: Any, user: Principal) -> None:
        assert self._sessions is not None
        if not isinstance(session_id, str) or not session_id:
            raise bad_arguments(BadArguments([(SESSION_ARGUMENT, "expected the id of a session")]))
        try:
            await self._sessions.check(session_id, user)
        except CallFailed as failure:
            raise call_failure(failure) from failure

    async def _act(self, arguments: dict[str, Any], user: Principal) -> _Outcome:
        try:
            user_may(user, self.tool.scope)
            request = self._decoder.decode(arguments)
            if self._roles.request_id:
                setattr(request, self._roles.request_id, str(uuid4()))
            response = await self._response(request, user)
        except BadArguments as error:
            return _Outcome(failure=bad_arguments(error))
        except ToolFailure as failure:
            return _Outcome(failure=failure)
        except CallFailed as failed:
            return _Outcome(failure=call_failure(failed))
        return _Outcome(result=self._to_result(response))

    async def _response(self, request: Message, user: Principal) -> Message:
        if not self.tool.method.server_streaming:
            return await self._backend.answer(request, user)
        async for message in self._backend.stream(request, user):
            if self._roles.result and message.HasField(self._roles.result):
                response: Message = getattr(message, self._roles.result)
                return response
            if self._roles.progress and message.HasField(self._roles.progress):
                await _report(getattr(message, self._roles.progress))
        raise ToolFailure("INTERNAL", "NO_RESULT", "the service ended the call without a result")

    def _to_result(self, response: Message) -> ToolResult:
        structured = self._encoder.encode(response)
        image = self._encoder.image(response)
        if image is None:
            return ToolResult(structured_content=structured)
        content: list[ContentBlock] = [
            ImageContent(data=image.data, format=image.mime_type.removeprefix("image/")).to_image_content()
        ]
        return ToolResult(content=content, structured_content=structured)


def user_may(user: Principal, scope: str) -> None:
    """Raises ToolFailure unless the user has the scope that a tool asks for."""
    if scope and not user.has(scope):
        raise ToolFailure("PERMISSION_DENIED", "PERMISSION_DENIED", f"{user.name} lacks the scope {scope}")


async def _report(progress: Any) -> None:
    """Passes progress on, as a share of 1 where it is known."""
    await get_context().report_progress(
        progress.fraction if progress.HasField("fraction") else 0,
        1 if progress.HasField("fraction") else None,
        progress.message,
    )


def _with_warning(result: ToolResult) -> ToolResult:
    """The same result, with the warning that the session's history lacks the call."""
    warning = TextContent(type="text", text=f"warning: {HISTORY_NOT_RECORDED}")
    return ToolResult(
        content=[*result.content, warning],
        structured_content=result.structured_content,
        meta={**(result.meta or {}), "virtlease/warnings": [HISTORY_NOT_RECORDED]},
        is_error=result.is_error,
    )
