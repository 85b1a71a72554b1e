"""One RPC as a tool call: check the session, translate, call, translate, record."""

import asyncio
import logging
import time
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import grpc
from fastmcp.server.dependencies import get_context
from google.protobuf.message import Message
from opentelemetry import trace

from virtlease.client import CallFailed
from virtlease.client.errors import LeaseLost
from virtlease_chassis.identity import Principal
from virtlease_chassis.telemetry import trace_id_of
from virtlease_gateway.backend import Backend
from virtlease_gateway.bindings import Bindings
from virtlease_gateway.confirm import Asked, Confirmation
from virtlease_gateway.contracts import Effect, RpcTool
from virtlease_gateway.failures import ToolFailure, bad_arguments, call_failure
from virtlease_gateway.held_leases import HeldLeases
from virtlease_gateway.sessions import Sessions, history_entry, session_is_over, session_ref
from virtlease_gateway.tools.answer import Answer
from virtlease_gateway.tools.roles import Roles, granted_lease
from virtlease_gateway.tools.wall import Wall
from virtlease_gateway.translate import ArgumentDecoder, BadArguments, ResultEncoder
from virtlease_gateway.users import current_user

SESSION_ARGUMENT = "session_id"
CONFIRMATION_ARGUMENT = "confirmation"
HISTORY_NOT_RECORDED = "history_not_recorded"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What sessions are good for: calls are recorded in them, older clients have one, and they hold leases."""

    sessions: Sessions
    bindings: Bindings
    leases: HeldLeases


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

    @property
    def is_quick(self) -> bool:
        """Whether nothing is said to the client but an answer of text: no progress, no question, no picture."""
        return not self.tool.method.server_streaming and self._confirmation is None and not self._encoder.has_image

    @property
    def ends_lease(self) -> bool:
        """Whether its calls give leases back."""
        return self._roles.ends_lease

    async def give_back(self, lease_id: str, user: Principal) -> None:
        """Gives a lease back for a session that is over. Raises CallFailed."""
        await self._backend.answer(self._decoder.decode({self._roles.lease: lease_id}), user)

    async def run(self, arguments: dict[str, Any], *, bind: bool = True) -> Answer:
        """Runs the tool. A failure is an answer too. `bind` says whether the client may be one that has a session
        bound to it."""
        trace_id = trace_id_of(trace.get_current_span())
        user = current_user()
        if self._kept is None:
            return await self._act(arguments, user, trace_id)
        rest = dict(arguments)
        try:
            session_id = await self._session(rest.pop(SESSION_ARGUMENT, None), self._kept, user, bind=bind)
        except ToolFailure as failure:
            return self._refuse(failure, trace_id)
        if session_id is None:
            return await self._act(rest, user, trace_id)
        return await self._act_and_record(rest, session_id, self._kept, user, trace_id)

    async def _session(self, given: Any, kept: Kept, user: Principal, *, bind: bool) -> str | None:
        """The session to make the call with, checked as far as the call needs it. Raises ToolFailure.

        A call that changes something is made only with a session that lives. One that reads can be made at once:
        recording it checks the session too, in the same round trip.
        """
        bound = given is None
        if bound:
            given = await kept.bindings.current(user) if bind else None
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
    ) -> Answer:
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
            answer = await self._act(arguments, user, trace_id, session_id)
        except asyncio.CancelledError:
            kept.sessions.record_later(session_id, user, entry("CANCELLED"))
            raise
        try:
            await kept.sessions.record(session_id, user, entry(answer.word))
        except CallFailed as failure:
            if self.tool.effect is Effect.READ and session_is_over(failure):
                return self._refuse(call_failure(failure), trace_id)
            log.warning("a call was not recorded in its session: %s", failure)
            answer.warning(HISTORY_NOT_RECORDED)
        return answer.made_with(session_id)

    async def _act(
        self, arguments: dict[str, Any], user: Principal, trace_id: str, session_id: str | None = None
    ) -> Answer:
        try:
            return await self._answer(arguments, user, session_id)
        except Asked as asked:
            return Answer.asking(asked.question)
        except BadArguments as error:
            failure = bad_arguments(error)
        except ToolFailure as error:
            failure = error
        except CallFailed as error:
            failure = call_failure(error)
        return self._refuse(failure, trace_id)

    async def _answer(self, arguments: dict[str, Any], user: Principal, session_id: str | None) -> Answer:
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
        if session_id is None or self._kept is None:
            response = await self._response(request, user)
        else:
            response = await self._response_on_lease(request, user, session_id, self._kept.leases)
        self._wall.sift(response)
        return Answer.of(self._encoder.encode(response), self._encoder.image(response))

    def _refuse(self, failure: ToolFailure, trace_id: str) -> Answer:
        return Answer.refused(failure, failure.hint(self._offered), trace_id)

    async def _response_on_lease(
        self, request: Message, user: Principal, session_id: str, leases: HeldLeases
    ) -> Message:
        """The response of a call with a session: on the lease that the session holds, if it holds one."""
        roles = self._roles
        if roles.grants_lease and leases.allowed:
            leases.check_room(user)
            response = await self._response(request, user)
            leases.hold(user, session_id, *granted_lease(response))
            return response
        if roles.ends_lease:
            response = await self._response(request, user)
            leases.forget(getattr(request, roles.lease))
            return response
        held = (
            ""
            if not roles.lease or getattr(request, roles.lease)
            else leases.find(user, session_id, roles.hypervisor_of(request))
        )
        if not held:
            return await self._response(request, user)
        setattr(request, roles.lease, held)
        try:
            return await self._response(request, user)
        except LeaseLost as failure:
            leases.forget(held)
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                raise  # it was lost under the call, which may have had its effect
            if self.tool.effect is not Effect.READ:
                message = "the lease that the session held is over; the call will run on a connection of its own"
                raise ToolFailure("ABORTED", "HELD_LEASE_OVER", message, retryable=True) from failure
            request.ClearField(roles.lease)
            return await self._response(request, user)

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
