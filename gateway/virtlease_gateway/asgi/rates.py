"""How many requests a caller may make."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp_types import INTERNAL_ERROR
from starlette.types import ASGIApp, Receive, Scope, Send

from virtlease_gateway.asgi.answers import refusal

_MOST_CALLERS = 10_000


class TokenBuckets:
    """Lets each caller have `rate` requests a second, and twice that many at once after a pause."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = max(1.0, 2 * rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Takes one token. Returns 0, or after how many seconds there is one.

        Only the latest ten thousand callers are known; one that was forgotten starts with a full bucket.
        """
        now = self._clock()
        tokens, stamp = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - stamp) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[caller] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return wait


class RateLimit:
    """Refuses the requests of a caller who makes too many: by their name when they have one, else by their address."""

    def __init__(self, app: ASGIApp, buckets: TokenBuckets) -> None:
        self._app = app
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (wait := self._buckets.take(_caller(scope))):
            await self._app(scope, receive, send)
            return
        seconds = str(math.ceil(wait))
        await refusal(429, INTERNAL_ERROR, "too many requests", headers={"Retry-After": seconds})(scope, receive, send)


def _caller(scope: Scope) -> str:
    user = scope.get("user")
    if isinstance(user, AuthenticatedUser):
        return f"user {user.access_token.client_id}"
    client = scope.get("client")
    return f"address {client[0] if client else ''}"
