"""Lease ids: a secret that says which replica has the lease, and in which of its lives.

The bytes are version, incarnation (8) and secret (16), in URL-safe base64. The owner replica joins them when there
can be several.
"""

import base64
import secrets
from dataclasses import dataclass
from typing import Self

from virtlease_pool.errors import LeaseNotFound

_VERSION = 1
_INCARNATION_BYTES = 8
_SECRET_BYTES = 16
_LENGTH = 1 + _INCARNATION_BYTES + _SECRET_BYTES


@dataclass(frozen=True, slots=True)
class LeaseId:
    """The parts of a lease id."""

    incarnation: bytes
    secret: bytes

    @classmethod
    def mint(cls, incarnation: bytes) -> Self:
        """A new one, which nobody can guess."""
        return cls(incarnation, secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads one. Raises LeaseNotFound for what was never minted: a forger learns no more than that."""
        try:
            raw = base64.b64decode(text.encode() + b"==", altchars=b"-_", validate=True)
        except ValueError:
            raise LeaseNotFound from None
        if len(raw) != _LENGTH or raw[0] != _VERSION:
            raise LeaseNotFound
        return cls(raw[1 : 1 + _INCARNATION_BYTES], raw[1 + _INCARNATION_BYTES :])

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(bytes([_VERSION]) + self.incarnation + self.secret).decode().rstrip("=")


def new_incarnation() -> bytes:
    """Names one life of a replica."""
    return secrets.token_bytes(_INCARNATION_BYTES)
