"""Confirmation tokens: what was planned, signed, for those who cannot be asked."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_PURPOSE = b"virtlease confirmation token v1"


class BadToken(ValueError):
    """Raised for a token that this deployment did not make."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token is good for: one call of one tool with these arguments by this user, on what the plan found.

    `expires` is in seconds since 1970; `nonce` makes it one call.
    """

    tool: str
    user: str
    arguments: str
    digest: str
    uuid: str
    nonce: str
    expires: int


class Seal:
    """Signs claims with HMAC-SHA256 under a key of its own, derived from the deployment's."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, _PURPOSE, "sha256")

    def sign(self, claims: Claims) -> str:
        """The token."""
        body = json.dumps(asdict(claims), separators=(",", ":")).encode()
        return f"{_encode(body)}.{_encode(self._signature(body))}"

    def open(self, token: str) -> Claims:
        """What the token says. Raises BadToken."""
        try:
            body, signature = (base64.urlsafe_b64decode(f"{part}==") for part in token.split("."))
            if not hmac.compare_digest(signature, self._signature(body)):
                raise BadToken
            return Claims(**json.loads(body))
        except (ValueError, TypeError, binascii.Error) as error:
            raise BadToken("not a confirmation token of this server") from error

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def digest_of(arguments: Mapping[str, Any]) -> str:
    """Tells one set of arguments from another, whatever the order they stand in."""
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
