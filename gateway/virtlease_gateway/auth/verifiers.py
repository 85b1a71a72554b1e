"""Tokens to principals. Each verifier answers None for a token that is none of its own."""

from collections.abc import Sequence
from urllib.parse import quote

from fastmcp.server.auth import AccessToken, JWTVerifier, TokenVerifier

from virtlease_chassis.identity import Authenticator, Principal
from virtlease_chassis.identity.principal import ACT_AS, valid_name
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.users import PRINCIPAL_CLAIM


class IdentityVerifier(TokenVerifier):
    """Knows the bearer tokens of the identity file."""

    def __init__(self, authenticator: Authenticator) -> None:
        super().__init__()
        self._authenticator = authenticator

    async def verify_token(self, token: str) -> AccessToken | None:
        principal = self._authenticator.principal_of_token(token)
        return None if principal is None else _access(token, principal)


class IssuerVerifier(TokenVerifier):
    """Knows the JSON Web Tokens of one issuer, by the keys that it publishes.

    A token's claims say the owner and, where a claim is named for it, the tenant; its scopes are the owner's. A token
    without an owner, or for another audience, is none.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__()
        self._tokens = JWTVerifier(
            jwks_uri=settings.jwt_jwks_uri,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            algorithm=settings.jwt_algorithm,
        )
        self._owner_claim = settings.jwt_owner_claim
        self._tenant_claim = settings.jwt_tenant_claim

    async def verify_token(self, token: str) -> AccessToken | None:
        found = await self._tokens.verify_token(token)
        if found is None:
            return None
        owner = _name(found.claims.get(self._owner_claim))
        tenant = _name(found.claims.get(self._tenant_claim)) if self._tenant_claim else "default"
        if not owner or not tenant:
            return None
        access = _access(token, Principal(tenant, owner, frozenset(found.scopes) - {ACT_AS}))
        access.expires_at = found.expires_at
        return access


class AnyVerifier(TokenVerifier):
    """Asks several in turn."""

    def __init__(self, verifiers: Sequence[TokenVerifier]) -> None:
        super().__init__()
        self._verifiers = verifiers

    async def verify_token(self, token: str) -> AccessToken | None:
        for verifier in self._verifiers:
            if (access := await verifier.verify_token(token)) is not None:
                return access
        return None


def _name(claim: object) -> str:
    """A claim as an owner or a tenant: subjects such as `https://idp/users/7` have slashes, names have none."""
    name = quote(claim, safe="@:|+ ") if isinstance(claim, str) else ""
    return name if valid_name(name) else ""


def _access(token: str, principal: Principal) -> AccessToken:
    return AccessToken(
        token=token,
        client_id=principal.name,
        scopes=sorted(principal.scopes),
        claims={PRINCIPAL_CLAIM: principal.to_header()},
    )
