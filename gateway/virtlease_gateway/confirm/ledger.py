"""Which confirmations have been used, for all workers and over restarts.

The session service remembers the request ids of creates for ten minutes, in whichever store it has. A nonce is such a
request id: the first create succeeds, and another one under the same id with another body is refused. What remembers it
is no session, so nobody can end it; the session itself is gone after a second.
"""

from uuid import uuid4

from google.protobuf.duration_pb2 import Duration

from virtlease.client import CallFailed
from virtlease_chassis.identity import Principal
from virtlease_gateway.failures import ToolFailure
from virtlease_gateway.sessions import Sessions

KEPT_SECONDS = 600
_OWNER = Principal("virtlease", "confirmations", frozenset({"session:write"}))


class Ledger:
    """Uses up nonces."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def use(self, nonce: str) -> None:
        """Raises ToolFailure when it was used before, CallFailed when that cannot be known."""
        try:
            await self._sessions.create(
                _OWNER, {"attempt": uuid4().hex}, idle_ttl=Duration(seconds=1), request_id=f"confirmation-{nonce}"
            )
        except CallFailed as failure:
            if failure.reason != "REQUEST_ID_REUSED":
                raise
            message = "this confirmation was used before; each serves once"
            raise ToolFailure("FAILED_PRECONDITION", "CONFIRMATION_USED", message) from failure
