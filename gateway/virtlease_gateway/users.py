"""Who uses the gateway, and how the services are told."""

from fastmcp.server.auth import AccessToken, TokenVerifier
from fastmcp.server.dependencies import get_access_token

from virtlease_chassis.identity import Authenticator, Principal
from virtlease_chassis.identity.authenticator import ANONYMOUS
from virtlease_chassis.identity.principal import PRINCIPAL_HEADER
from virtlease_chassis.telemetry.propagation import outgoing

_PRINCIPAL_CLAIM = "virtlease_principal"

Metadata = list[tuple[str, str]]


class IdentityVerifier(TokenVerifier):
    """Knows the bearer tokens of the identity file."""

    def __init__(self, authenticator: Authenticator) -> None:
        super().__init__()
        self._authenticator = authenticator

    async def verify_token(self, token: str) -> AccessToken | None:
        principal = self._authenticator.principal_of_token(token)
        if principal is None:
            return None
        return AccessToken(
            token=token,
            client_id=principal.name,
            scopes=sorted(principal.scopes),
            claims={_PRINCIPAL_CLAIM: principal.to_header()},
        )


def current_user() -> Principal:
    """The principal behind the MCP request that is being handled; anonymous where nobody is asked."""
    token = get_access_token()
    if token is None:
        return ANONYMOUS
    return Principal.from_header(token.claims[_PRINCIPAL_CLAIM])


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
