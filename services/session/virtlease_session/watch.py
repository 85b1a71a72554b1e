"""WatchSessions: changes as they happen, with a token to go on from, and an end that is always told."""

import time
from collections.abc import AsyncIterator

from virtlease.session.v1 import watch_pb2 as pb
from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.rpc.calls import ShuttingDown, draining
from virtlease_chassis.wire import checked_milliseconds
from virtlease_session import convert
from virtlease_session.model import Event, EventType, Get, SessionState
from virtlease_session.ports import SessionStore, Watcher

_TYPES = {
    EventType.CREATED: pb.SESSION_EVENT_TYPE_CREATED,
    EventType.UPDATED: pb.SESSION_EVENT_TYPE_UPDATED,
    EventType.REFRESHED: pb.SESSION_EVENT_TYPE_REFRESHED,
    EventType.EXPIRED: pb.SESSION_EVENT_TYPE_EXPIRED,
    EventType.ENDED: pb.SESSION_EVENT_TYPE_ENDED,
}
_PROGRESS_SECONDS = 10.0
_LEAST_PROGRESS_SECONDS = 1.0

# A watch looks up from its waiting this often, to see whether the server is shutting down.
_LOOK_UP_SECONDS = 0.5


async def watch_sessions(
    store: SessionStore, request: pb.WatchSessionsRequest, owner: str
) -> AsyncIterator[pb.WatchSessionsResponse]:
    """The stream of one watch. Raises what `SessionStore.watch` and `Watcher.events` raise."""
    progress = _progress_interval(request)
    watcher = await store.watch(owner, request.resume_token)
    try:
        yield _response(watcher, [])
        sent = time.monotonic()
        while not draining():
            events = [each for each in await watcher.events(min(progress, _LOOK_UP_SECONDS)) if _wanted(each, request)]
            if events or time.monotonic() - sent >= progress:
                response = _response(watcher, events)
                if request.include_session:
                    await _add_sessions(store, owner, response)
                yield response
                sent = time.monotonic()
    finally:
        watcher.close()
    raise ShuttingDown


def _progress_interval(request: pb.WatchSessionsRequest) -> float:
    if not request.HasField("progress_interval"):
        return _PROGRESS_SECONDS
    seconds = checked_milliseconds(request.progress_interval, "progress_interval") / 1000
    if seconds < _LEAST_PROGRESS_SECONDS:
        raise InvalidArgument("progress_interval", f"at least {_LEAST_PROGRESS_SECONDS:g} second")
    return seconds


def _wanted(event: Event, request: pb.WatchSessionsRequest) -> bool:
    if event.type is EventType.REFRESHED and not request.include_refreshed:
        return False
    if request.session_id and event.session_id != request.session_id:
        return False
    return all(event.labels.get(key) == value for key, value in request.labels.items())


def _response(watcher: Watcher, events: list[Event]) -> pb.WatchSessionsResponse:
    response = pb.WatchSessionsResponse(resume_token=watcher.token)
    convert.fill_time(response.server_time, time.time_ns() // 1_000_000)
    for event in events:
        message = response.events.add()
        message.type = _TYPES[event.type]
        message.session_id = event.session_id
        message.etag = event.etag
        message.changed_keys.extend(event.keys)
        convert.fill_time(message.time, event.at)
    return response


async def _add_sessions(store: SessionStore, owner: str, response: pb.WatchSessionsResponse) -> None:
    """Adds to each event of a living session the session as it is now."""
    told = [
        event
        for event in response.events
        if event.type in (pb.SESSION_EVENT_TYPE_CREATED, pb.SESSION_EVENT_TYPE_UPDATED)
    ]
    answers = await store.execute([Get(owner, event.session_id, touch=False) for event in told])
    for event, answer in zip(told, answers, strict=True):
        if isinstance(answer, SessionState):
            convert.fill_session(event.session, answer)
