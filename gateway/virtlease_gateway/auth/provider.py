"""What FastMCP asks about tokens, and what it tells clients that have none."""

from collections.abc import Iterable

from fastmcp.server.auth import AuthProvider, RemoteAuthProvider, TokenVerifier
from pydantic import AnyHttpUrl

from virtlease_chassis.identity import Authenticator
from virtlease_gateway.auth.verifiers import AnyVerifier, IdentityVerifier, IssuerVerifier
from virtlease_gateway.settings import GatewaySettings


def auth_provider(
    authenticator: Authenticator, settings: GatewaySettings, scopes: Iterable[str]
) -> AuthProvider | None:
    """None when nobody is asked. `scopes` are those that tools need.

    With an issuer and a public URL, clients find the issuer by the resource metadata of RFC 9728, which a refusal
    points to.
    """
    verifiers: list[TokenVerifier] = []
    if not authenticator.anonymous:
        verifiers.append(IdentityVerifier(authenticator))
    if settings.jwt_jwks_uri:
        verifiers.append(IssuerVerifier(settings))
    if not verifiers:
        return None
    verifier = AnyVerifier(verifiers)
    if not settings.jwt_issuer or not settings.public_url:
        return verifier
    return RemoteAuthProvider(
        token_verifier=verifier,
        authorization_servers=[AnyHttpUrl(settings.jwt_issuer)],
        base_url=settings.public_url,
        scopes_supported=sorted(set(scopes)),
        resource_name="virtlease",
    )
