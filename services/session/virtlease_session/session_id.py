"""Ids of sessions: minted ones cannot be guessed, and say in which shard their session is."""

import secrets
from zlib import crc32

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_RANDOM_BYTES = 24
_MINTED_LENGTH = 33

SHARDS = len(_ALPHABET)


def mint(shard: int | None = None) -> str:
    """A new id with 192 random bits, in a shard of the caller's choice or a random one."""
    first = _ALPHABET[shard] if shard is not None else secrets.choice(_ALPHABET)
    return first + secrets.token_urlsafe(_RANDOM_BYTES)


def shard_of(owner: str, session_id: str) -> int:
    """The shard of a session: what a minted id says, and a hash for one that was chosen.

    A chosen id that looks minted is in the shard that it seems to say; it only has to be always the same.
    """
    if len(session_id) == _MINTED_LENGTH and (index := _ALPHABET.find(session_id[0])) >= 0:
        return index
    return crc32(f"{owner}\0{session_id}".encode()) % SHARDS


def shard_of_request(owner: str, request_id: str) -> int:
    """The shard in which a session is created by this request, so that a retry finds what the first came to."""
    return crc32(f"{owner}\0{request_id}".encode()) % SHARDS
