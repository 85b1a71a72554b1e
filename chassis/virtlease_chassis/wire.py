"""Between plain values and the well-known types of protobuf."""

import hashlib

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from virtlease_chassis.errors import InvalidArgument

_SECOND = 1_000_000_000


def timestamp(milliseconds: int) -> Timestamp:
    """A moment on the wall clock."""
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def duration(milliseconds: int) -> Duration:
    """A length of time, not negative."""
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def milliseconds(value: Duration) -> int:
    """A length of time in whole ms."""
    return value.seconds * 1000 + value.nanos // 1_000_000


def checked_milliseconds(value: Duration, field: str) -> int:
    """The same of a caller's, who can send what is none. Raises InvalidArgument."""
    if not -_SECOND < value.nanos < _SECOND or value.seconds * value.nanos < 0:
        raise InvalidArgument(field, "not a duration: its nanos are less than a second, and of the same sign")
    return milliseconds(value)


def fingerprint(request: Message) -> bytes:
    """Tells apart two requests under one request id."""
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16).digest()
