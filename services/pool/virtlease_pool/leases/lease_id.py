"""Lease ids: a secret that says which replica has the lease, and in which of its lives.

The bytes are version, replica (6, a hash of its name), incarnation (8) and secret (16), in URL-safe base64.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Self

from virtlease_pool.errors import LeaseNotFound

_VERSION = 1
_REPLICA_BYTES = 6
_INCARNATION_BYTES = 8
_SECRET_BYTES = 16
_SECRET_FROM = 1 + _REPLICA_BYTES + _INCARNATION_BYTES
_LENGTH = _SECRET_FROM + _SECRET_BYTES


@dataclass(frozen=True, slots=True)
class LeaseId:
    """The parts of a lease id."""

    replica: bytes
    incarnation: bytes
    secret: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads one. Raises LeaseNotFound for what was never minted: a forger learns no more than that."""
        try:
            raw = base64.b64decode(text.encode() + b"==", altchars=b"-_", validate=True)
        except ValueError:
            raise LeaseNotFound from None
        if len(raw) != _LENGTH or raw[0] != _VERSION:
            raise LeaseNotFound
        return cls(raw[1 : 1 + _REPLICA_BYTES], raw[1 + _REPLICA_BYTES : _SECRET_FROM], raw[_SECRET_FROM:])

    def __str__(self) -> str:
        raw = bytes([_VERSION]) + self.replica + self.incarnation + self.secret
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Mint:
    """Makes the lease ids of one life of a replica."""

    def __init__(self, replica: str) -> None:
        self.replica = replica_mark(replica)
        self.incarnation = secrets.token_bytes(_INCARNATION_BYTES)

    def lease_id(self) -> str:
        """A new one, which nobody can guess."""
        return str(LeaseId(self.replica, self.incarnation, secrets.token_bytes(_SECRET_BYTES)))


def replica_mark(name: str) -> bytes:
    """What stands for a replica's name in an id."""
    return hashlib.blake2b(name.encode(), digest_size=_REPLICA_BYTES).digest()
