"""How users of the gateway show who they are: tokens of the identity file, and JSON Web Tokens of an issuer."""

from virtlease_gateway.auth.provider import auth_provider

__all__ = ["auth_provider"]
