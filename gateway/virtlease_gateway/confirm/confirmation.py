"""Asks for a confirmation: by elicitation in whichever way the client's protocol has it, else by a signed token."""

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from fastmcp.server.context import Context
from fastmcp.server.dependencies import get_context
from google.protobuf.message import Message
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from virtlease_chassis.identity import Principal
from virtlease_gateway.confirm.ledger import Ledger
from virtlease_gateway.confirm.plan import Plan, Planner
from virtlease_gateway.confirm.seal import BadToken, Claims, Seal, digest_of
from virtlease_gateway.failures import ToolFailure

VALID_SECONDS = 300
"""How long somebody has to answer; the ledger remembers twice as long."""

_KEY = "confirm"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {_KEY: {"type": "boolean", "title": "Do it", "description": "Yes, do this.", "default": False}},
    "required": [_KEY],
}


class Asked(Exception):
    """Raised when the client has to ask its user first, and then make the call again."""

    def __init__(self, question: InputRequiredResult) -> None:
        super().__init__("the user has to confirm this call")
        self.question = question


class Confirmation:
    """Confirms the calls of one tool. Nothing is changed before the answer, and what was planned is looked at again
    after it: a call is made only on the VM, and in the state, that somebody said yes to."""

    def __init__(self, tool: str, planner: Planner, ledger: Ledger, seal: Seal, *, tokens: bool) -> None:
        """`tokens` says whether a client that cannot ask gets a token to call again with."""
        self._tool = tool
        self._planner = planner
        self._ledger = ledger
        self._seal = seal
        self.takes_tokens = tokens

    async def confirm(self, request: Message, arguments: Mapping[str, Any], token: Any, user: Principal) -> None:
        """Returns when the request is confirmed, and bound to what it was confirmed for.

        Raises Asked when the user has to be asked first, ToolFailure when it is not confirmed, CallFailed when it could
        not be carried out as things are, or when it cannot be known whether the confirmation was used before.
        """
        plan = await self._planner.plan(request, arguments, user)
        self._planner.bind(request, plan)
        context = get_context()
        if not _can_ask(context):
            await self._by_token(plan, arguments, token, user)
        elif _is_modern(context):
            await self._by_retry(context, plan, user)
        else:
            await self._by_asking(context, plan)
            self._compare(plan.digest, await self._planner.plan(request, arguments, user))

    async def _by_retry(self, context: Context, plan: Plan, user: Principal) -> None:
        """The modern era: the answer comes with another call, and with it what was sealed into the question."""
        state, answer = context.request_state, (context.input_responses or {}).get(_KEY)
        if state is None or not isinstance(answer, ElicitResult):
            sealed = json.dumps({"nonce": secrets.token_urlsafe(18), "digest": plan.digest, "user": user.name})
            params = ElicitRequestFormParams(message=plan.text, requested_schema=_SCHEMA)
            question = ElicitRequest(method="elicitation/create", params=params)
            raise Asked(InputRequiredResult(input_requests={_KEY: question}, request_state=sealed))
        opened = json.loads(state)
        if opened["user"] != user.name:
            raise _refused("CONFIRMATION_INVALID", "this confirmation is of another user")
        await self._ledger.use(opened["nonce"])
        _check(answer)
        self._compare(opened["digest"], plan)

    async def _by_asking(self, context: Context, plan: Plan) -> None:
        """The older protocol: the client is asked while the call waits."""
        try:
            async with asyncio.timeout(VALID_SECONDS):
                answer = await context.session.elicit(plan.text, _SCHEMA, related_request_id=context.request_id)
        except TimeoutError as error:
            raise _refused("CONFIRMATION_EXPIRED", "nobody answered in time") from error
        _check(answer)

    async def _by_token(self, plan: Plan, arguments: Mapping[str, Any], token: Any, user: Principal) -> None:
        if not self.takes_tokens:
            message = "this has to be confirmed by a person, and this client cannot ask one"
            raise _refused("CONFIRMATION_UNSUPPORTED", message)
        expected = Claims(
            self._tool, user.name, digest_of(arguments), plan.digest, plan.uuid,
            nonce=secrets.token_urlsafe(18), expires=int(time.time()) + VALID_SECONDS,
        )  # fmt: skip
        if token is None:
            shown = {"summary": plan.summary, "losses": list(plan.losses)}
            raise _refused(
                "CONFIRMATION_REQUIRED",
                f"nothing was done yet. It would do this:\n{plan.text}\nIf that is wanted, and whoever you work for "
                f"agrees, repeat the call within {VALID_SECONDS // 60} minutes with the argument `confirmation`",
                {"plan": shown, "confirmation": self._seal.sign(expected)},
            )
        try:
            claims = self._seal.open(token if isinstance(token, str) else "")
        except BadToken as error:
            raise _refused("CONFIRMATION_INVALID", str(error)) from error
        if claims.expires < time.time():
            raise _refused("CONFIRMATION_EXPIRED", "this confirmation is too old")
        same = (claims.tool, claims.user, claims.arguments) == (expected.tool, expected.user, expected.arguments)
        if not same:
            raise _refused("CONFIRMATION_INVALID", "this confirmation is for another call")
        if claims.uuid != plan.uuid:
            raise _changed()
        self._compare(claims.digest, plan)
        await self._ledger.use(claims.nonce)

    def _compare(self, digest: str, plan: Plan) -> None:
        if not hmac.compare_digest(digest, plan.digest):
            raise _changed()


def _check(answer: ElicitResult) -> None:
    if answer.action != "accept" or (answer.content or {}).get(_KEY) is not True:
        raise _refused("CONFIRMATION_DECLINED", "it was not confirmed, and nothing was done")


def _can_ask(context: Context) -> bool:
    """Whether the client has a user whom it can ask."""
    capabilities = context.session.client_capabilities
    asks = capabilities.elicitation if capabilities else None
    return asks is not None and (asks.form is not None or asks.url is None)


def _is_modern(context: Context) -> bool:
    request = context.request_context
    return request is not None and request.protocol_version in MODERN_PROTOCOL_VERSIONS


def _refused(reason: str, message: str, details: Mapping[str, Any] | None = None) -> ToolFailure:
    return ToolFailure("FAILED_PRECONDITION", reason, message, details=dict(details or {}))


def _changed() -> ToolFailure:
    return _refused("STATE_CHANGED", "what was confirmed is no longer so: it changed since it was planned")
