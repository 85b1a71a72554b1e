"""The names of everything in Redis.

Sessions are spread over 64 shards. All that belongs to a shard has the same hash tag, so that a script can work on it
in a cluster; the tags are such that the shards lie evenly over the cluster's slots.
"""

import itertools
from binascii import crc_hqx
from hashlib import blake2b

from virtlease_session.session_id import SHARDS

SLOTS = 16_384
_PER_SHARD = SLOTS // SHARDS


def slot_of(tag: str) -> int:
    """The cluster's slot for a hash tag: CRC16 (XMODEM) as Redis Cluster's specification has it."""
    return crc_hqx(tag.encode(), 0) % SLOTS


class Keys:
    """The names under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        tags = [_tag(prefix, shard) for shard in range(SHARDS)]
        self.slots = tuple(slot_of(tag) for tag in tags)
        """The slot of each shard."""
        self._starts = tuple(f"{{{tag}}}:" for tag in tags)
        self.deadlines = tuple(f"{start}d" for start in self._starts)
        """The deadlines of each shard."""

    @property
    def channel(self) -> str:
        """How the channels begin on which owners' watchers are told to look."""
        return f"{self._prefix}:w:"

    def session(self, shard: int, owner: str, session_id: str) -> str:
        return f"{self._starts[shard]}s:{session_id}:{owner}"

    def index(self, shard: int, owner: str) -> str:
        """The ids of an owner's sessions in a shard."""
        return f"{self._starts[shard]}o:{owner}"

    def changes(self, shard: int, owner: str) -> str:
        """The stream of changes of an owner's sessions in a shard."""
        return f"{self._starts[shard]}e:{owner}"

    def shard_of_changes(self, stream: str) -> int:
        """The shard of a stream that `changes` named."""
        return int(stream[len(self._prefix) + 2 :][:2])

    def outcome(self, shard: int, owner: str, verb: str, session_id: str, request_id: str) -> str:
        """What a request came to."""
        name = "\0".join((verb, session_id, request_id, owner))
        return f"{self._starts[shard]}r:{blake2b(name.encode(), digest_size=15).hexdigest()}"


def _tag(prefix: str, shard: int) -> str:
    """A hash tag whose slot is in the shard's part of all slots."""
    for number in itertools.count():
        tag = f"{prefix}:{shard:02}:{number}"
        if slot_of(tag) // _PER_SHARD == shard:
            return tag
    raise AssertionError
