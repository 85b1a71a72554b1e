"""What the watches have in common: events as they come, tokens to go on from, an end that is told."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration

from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.rpc.calls import ShuttingDown, draining
from virtlease_chassis.wire import checked_milliseconds, timestamp
from virtlease_pool.event_log import Cursor

E = TypeVar("E")

_PROGRESS_SECONDS = 10.0
_LEAST_PROGRESS_SECONDS = 1.0

# A watch looks up from its waiting this often, to see whether the server is shutting down.
_LOOK_UP_SECONDS = 0.5


async def watch(
    cursor: Cursor[E], request: Any, response_class: Any, translate: Callable[[E], Any | None]
) -> AsyncIterator[Any]:
    """The responses of one watch: the first at once, so that the watcher has a token from the beginning.

    `translate` makes a message of an event, or None of one that is not wanted. Raises what `Cursor.events` raises, and
    ShuttingDown.
    """
    progress = _progress_interval(request)
    yield response_class(resume_token=cursor.token, server_time=_now())
    sent = time.monotonic()
    while not draining():
        events = await cursor.events(min(progress, _LOOK_UP_SECONDS))
        messages = [message for event in events if (message := translate(event)) is not None]
        if messages or time.monotonic() - sent >= progress:
            yield response_class(events=messages, resume_token=cursor.token, server_time=_now())
            sent = time.monotonic()
    raise ShuttingDown


def _progress_interval(request: Any) -> float:
    if not request.HasField("progress_interval"):
        return _PROGRESS_SECONDS
    interval: Duration = request.progress_interval
    seconds = checked_milliseconds(interval, "progress_interval") / 1000
    if seconds < _LEAST_PROGRESS_SECONDS:
        raise InvalidArgument("progress_interval", f"at least {_LEAST_PROGRESS_SECONDS:g} second")
    return seconds


def _now() -> Any:
    return timestamp(time.time_ns() // 1_000_000)
