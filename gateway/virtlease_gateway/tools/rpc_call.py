"""One RPC as a tool call: check the session, translate, call, translate, record."""

import asyncio
import logging
import time
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fastmcp.server.dependencies import get_context
from fastmcp.tools import ToolResult
from fastmcp.tools.base import InputRequiredToolResult
from fastmcp.utilities.types import Image as ImageContent
from google.protobuf.message import Message
from mcp_types import ContentBlock, TextContent
from opentelemetry import trace

from virtlease.client import CallFailed
from virtlease_chassis.identity import Principal
from virtlease_chassis.telemetry import trace_id_of
from virtlease_gateway.backend import Backend
from virtlease_gateway.bindings import Bindings
from virtlease_gateway.confirm import Asked, Confirmation
from virtlease_gateway.contracts import Effect, RpcTool
from virtlease_gateway.failures import ToolFailure, bad_arguments, call_failure
from virtlease_gateway.sessions import Sessions, history_entry, session_is_over, session_ref
from virtlease_gateway.tools.roles import Roles
from virtlease_gateway.tools.wall import Wall
from virtlease_gateway.translate import ArgumentDecoder, BadArguments, ResultEncoder
from virtlease_gateway.users import current_user

SESSION_ARGUMENT = "session_id"
CONFIRMATION_ARGUMENT = "confirmation"
SESSION_META = "virtlease/session_id"
WARNINGS_META = "virtlease/warnings"
HISTORY_NOT_RECORDED = "history_not_recorded"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where calls are recorded: the session service, and which session belongs to which older client."""

    sessions: Sessions
    bindings: Bindings


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a call came to: its result, a question to the user, or why it failed."""

    result: ToolResult | None = None
    failure: ToolFailure | None = None

    @property
    def word(self) -> str:
        """What the history says of it."""
        if isinstance(self.result, InputRequiredToolResult):
            return "CONFIRMATION_REQUIRED"
        return self.failure.reason if self.failure else "OK"


class RpcCall:
    """Carries out the calls of one tool. `kept` is None for the tools of a service that has sessions of its own."""

    def __init__(
        self,
        tool: RpcTool,
        backend: Backend,
        kept: Kept | None,
        wall: Wall,
        offered: Container[str],
        confirmation: Confirmation | None = None,
    ) -> None:
        """`offered` are the names of all tools, for hints. Without `confirmation` calls need none."""
        self.tool = tool
        self._confirmation = confirmation
        self._backend = backend
        self._kept = kept
        self._wall = wall
        self._offered = offered
        self._roles = Roles.of(tool.method)
        self._decoder = ArgumentDecoder(tool.method.input_type)
        self._encoder = ResultEncoder(self._roles.result_type)

    @property
    def takes_session(self) -> bool:
        """Whether the tool has the argument `session_id` from the gateway."""
        return self._kept is not None

    @property
    def takes_confirmation(self) -> bool:
        """Whether the tool has the argument `confirmation` from the gateway."""
        return self._confirmation is not None and self._confirmation.takes_tokens

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        """Runs the tool. A failure is a result too, marked as an error."""
        trace_id = trace_id_of(trace.get_current_span())
        user = current_user()
        if self._kept is None:
            return self._told(await self._act(arguments, user), trace_id)
        rest = dict(arguments)
        try:
            session_id = await self._session(rest.pop(SESSION_ARGUMENT, None), self._kept, user)
        except ToolFailure as failure:
            return self._told(_Outcome(failure=failure), trace_id)
        if session_id is None:
            return self._told(await self._act(rest, user), trace_id)
        return await self._act_and_record(rest, session_id, self._kept, user, trace_id)

    async def _session(self, given: Any, kept: Kept, user: Principal) -> str | None:
        """The session to make the call with, checked as far as the call needs it. Raises ToolFailure.

        A call that changes something is made only with a session that lives. One that reads can be made at once:
        recording it checks the session too, in the same round trip.
        """
        bound = given is None
        if bound:
            given = await kept.bindings.current(user)
            if given is None:
                return None
        if not isinstance(given, str) or not given:
            raise bad_arguments(BadArguments([(SESSION_ARGUMENT, "expected the id of a session")]))
        trace.get_current_span().set_attribute("app.session.id", session_ref(given))
        if self.tool.effect is Effect.READ and not bound:
            return given
        try:
            await kept.sessions.check(given, user)
        except CallFailed as failure:
            if bound and session_is_over(failure):
                kept.bindings.forget(given)
                return await kept.bindings.current(user)
            raise call_failure(failure) from failure
        return given

    async def _act_and_record(
        self, arguments: dict[str, Any], session_id: str, kept: Kept, user: Principal, trace_id: str
    ) -> ToolResult:
        started, clock = datetime.now(UTC), time.perf_counter()

        def entry(outcome: str) -> dict[str, Any]:
            return history_entry(
                command=self.tool.name,
                vm_id=str(arguments.get(self._roles.vm, "")),
                arguments=self._roles.without_secrets(arguments, CONFIRMATION_ARGUMENT),
                started=started,
                outcome=outcome,
                seconds=time.perf_counter() - clock,
                trace_id=trace_id,
            )

        try:
            outcome = await self._act(arguments, user)
        except asyncio.CancelledError:
            kept.sessions.record_later(session_id, user, entry("CANCELLED"))
            raise
        result = self._told(outcome, trace_id)
        try:
            await kept.sessions.record(session_id, user, entry(outcome.word))
        except CallFailed as failure:
            if self.tool.effect is Effect.READ and session_is_over(failure):
                return self._told(_Outcome(failure=call_failure(failure)), trace_id)
            log.warning("a call was not recorded in its session: %s", failure)
            result = _with_warning(result)
        return _with_meta(result, {SESSION_META: session_id})

    async def _act(self, arguments: dict[str, Any], user: Principal) -> _Outcome:
        try:
            user_may(user, self.tool.scope)
            token = arguments.get(CONFIRMATION_ARGUMENT) if self.takes_confirmation else None
            if token is not None:
                arguments = {name: value for name, value in arguments.items() if name != CONFIRMATION_ARGUMENT}
            request = self._decoder.decode(arguments)
            self._wall.check(request)
            if self._confirmation:
                await self._confirmation.confirm(request, arguments, token, user)
            if self._roles.request_id:
                setattr(request, self._roles.request_id, str(uuid4()))
            response = await self._response(request, user)
            self._wall.sift(response)
        except Asked as asked:
            return _Outcome(result=InputRequiredToolResult(asked.question))
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

    def _told(self, outcome: _Outcome, trace_id: str) -> ToolResult:
        if outcome.failure:
            return outcome.failure.to_result(trace_id, self._offered)
        assert outcome.result
        return outcome.result


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
    result.content = [*result.content, warning]
    return _with_meta(result, {WARNINGS_META: [HISTORY_NOT_RECORDED]})


def _with_meta(result: ToolResult, meta: dict[str, Any]) -> ToolResult:
    result.meta = {**(result.meta or {}), **meta}
    return result
