"""Between plain values and the well-known types of protobuf."""

import hashlib

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(milliseconds: int) -> Timestamp:
    """A moment on the wall clock."""
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def duration(milliseconds: int) -> Duration:
    """A length of time, not negative."""
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def milliseconds(value: Duration) -> int:
    """A length of time in whole ms."""
    return value.seconds * 1000 + value.nanos // 1_000_000


def fingerprint(request: Message) -> bytes:
    """Tells apart two requests under one request id."""
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16).digest()
