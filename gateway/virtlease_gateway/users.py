"""Who uses the gateway, and how the services are told."""

from functools import lru_cache

from fastmcp.server.dependencies import get_access_token

from virtlease_chassis.identity import Principal
from virtlease_chassis.identity.authenticator import ANONYMOUS
from virtlease_chassis.identity.principal import PRINCIPAL_HEADER
from virtlease_chassis.telemetry.propagation import outgoing

PRINCIPAL_CLAIM = "virtlease_principal"

Metadata = list[tuple[str, str]]

_principal_of = lru_cache(4096)(Principal.from_header)


def current_user() -> Principal:
    """The principal behind the MCP request that is being handled; anonymous where nobody is asked."""
    token = get_access_token()
    if token is None:
        return ANONYMOUS
    return _principal_of(token.claims[PRINCIPAL_CLAIM])


class Introduction:
    """The metadata of calls to the services: the gateway's own token, the user it acts for, and the trace."""

    def __init__(self, token: str | None, *, acts_for_others: bool) -> None:
        """Without a token, the services know nobody, and are told of nobody."""
        self._token = token
        self._acts_for_others = acts_for_others

    def metadata(self, user: Principal) -> Metadata:
        """For a call in the name of a user."""
        metadata = [*outgoing(), *self.of_gateway()]
        if principal := self.principal(user):
            metadata.append((PRINCIPAL_HEADER, principal))
        return metadata

    def of_gateway(self) -> Metadata:
        """For a stream that carries calls in the names of many."""
        return [("authorization", f"Bearer {self._token}")] if self._token is not None else []

    def principal(self, user: Principal) -> str:
        """The user as a header says them; empty where the services are told of nobody."""
        return user.to_header() if self._token is not None and self._acts_for_others else ""
