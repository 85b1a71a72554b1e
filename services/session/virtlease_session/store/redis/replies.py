"""What the scripts say, in the words of the model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from virtlease_chassis.errors import DomainError
from virtlease_session.errors import (
    Conflict,
    IncrementOverflow,
    RequestIdReused,
    SessionEnded,
    SessionExists,
    SessionExpired,
    SessionNotFound,
    WrongType,
)
from virtlease_session.limits import Limits
from virtlease_session.lists import to_json
from virtlease_session.model import (
    Answer,
    Create,
    End,
    Ended,
    Event,
    EventType,
    Found,
    Get,
    GetOrCreate,
    Refresh,
    SessionState,
    Update,
    Updated,
    Verb,
)
from virtlease_session.store.redis.link import Reply

_NO_LABELS: Mapping[str, str] = {}


class Known(msgspec.Struct, frozen=True, gc=False):
    """The session that a request created, or found, before: what it is like now is to be asked for."""

    session_id: str
    created: bool


def was_buried(reply: Reply) -> bool:
    """Whether a script found a session expired and buried it; otherwise somebody had done so before."""
    return type(reply) is list and reply[0] == "expired" and len(reply) > 1


def session_id_of(verb: Verb) -> str:
    """The id of the session that a verb is for; empty for one that is to be minted."""
    return verb.new.session_id if isinstance(verb, Create | GetOrCreate) else verb.session_id


def answer(verb: Verb, words: Sequence[Any], reply: Reply, limits: Limits) -> Answer | Known | DomainError:
    """The answer to a verb, which was written as `words`, or the error of the domain."""
    word = reply[0]
    if word == "ok":
        return _ANSWERS[type(verb)](verb, words, reply)
    if word == "created":
        state = _created(verb, words, reply)  # type: ignore[arg-type]
        return Found(state, True) if isinstance(verb, GetOrCreate) else state
    if word == "known":
        return Known(reply[1], bool(reply[2]))
    return _error(session_id_of(verb), reply, limits)


def state_of(session_id: str, fields: Mapping[str, str], now: int, keys: Sequence[str] | None) -> SessionState:
    """A session from the fields of its hash, with those of the keys that it has; with all for None."""
    if keys is None:
        values = {name[2:]: to_json(text) for name, text in fields.items() if name[0] == "v"}
    else:
        values = {key: to_json(text) for key in keys if (text := fields.get(f"v:{key}")) is not None}
    return SessionState(
        session_id=session_id,
        incarnation=fields["_i"],
        version=int(fields["_v"]),
        values=values,
        labels=_labels(fields["_l"]),
        idle_ttl=int(fields["_t"]),
        created_at=int(fields["_c"]),
        updated_at=int(fields["_u"]),
        expires_at=int(fields["_d"]),
        max_expires_at=int(fields["_m"]),
        now=now,
    )


def event_of(owner: str, entry: Sequence[str]) -> Event:
    """A change, from the fields of an entry in a stream."""
    fields = _pairs(entry)
    return Event(
        type=EventType[fields["type"].upper()],
        owner=owner,
        session_id=fields["id"],
        etag=fields["etag"],
        at=int(fields["at"]),
        labels=_labels(fields["labels"]),
        keys=tuple(msgspec.json.decode(fields["keys"])),
    )


def _state(session_id: str, keys: Sequence[str] | None, reply: Reply) -> SessionState:
    return state_of(session_id, _pairs(reply[2]), reply[1], keys)


def _created(verb: Create | GetOrCreate, words: Sequence[Any], reply: Reply) -> SessionState:
    new, (_, now, deadline, latest) = verb.new, reply
    arguments = words[3 + words[2] :]
    return SessionState(
        session_id=arguments[1],
        incarnation=arguments[5],
        version=1,
        values=new.values,
        labels=new.labels,
        idle_ttl=new.idle_ttl,
        created_at=now,
        updated_at=now,
        expires_at=deadline,
        max_expires_at=latest,
        now=now,
    )


def _updated(_verb: Update, _words: Sequence[Any], reply: Reply) -> Updated:
    sums = reply[5:]
    incremented = {sums[place]: int(sums[place + 1]) for place in range(0, len(sums), 2)} if sums else {}
    return Updated(reply[1], reply[2], incremented, reply[3], reply[4])


def _error(session_id: str, reply: Reply, limits: Limits) -> DomainError:
    match reply:
        case ["not_found"]:
            return SessionNotFound(session_id)
        case ["expired", *_]:
            return SessionExpired(session_id)
        case ["ended"]:
            return SessionEnded(session_id)
        case ["exists"]:
            return SessionExists(session_id)
        case ["conflict", "etag", etag]:
            return Conflict.other_etag(session_id, etag)
        case ["conflict", "incarnation", etag]:
            return Conflict.other_incarnation(session_id, etag)
        case ["conflict", "precondition", etag, key, number]:
            return Conflict.precondition(session_id, etag, key, number)
        case ["wrong_type", key, needed]:
            return WrongType(key, needed)
        case ["overflow", key, _]:
            return IncrementOverflow(key)
        case ["list_too_large", number]:
            return limits.list_too_large(number)
        case ["session_too_large"]:
            return limits.session_too_large("mutations")
        case ["too_many_keys"]:
            return limits.too_many_keys("mutations")
        case ["request_id_reused"]:
            return RequestIdReused()
    raise AssertionError(f"a script said {reply}")


def _labels(text: str) -> Mapping[str, str]:
    return _NO_LABELS if text == "{}" else msgspec.json.decode(text)


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    names = iter(flat)
    return dict(zip(names, names, strict=True))


_ANSWERS: dict[type[Any], Callable[[Any, Sequence[Any], Reply], Answer]] = {
    GetOrCreate: lambda verb, words, reply: Found(_state(verb.new.session_id, None, reply), False),
    Get: lambda verb, words, reply: _state(verb.session_id, verb.keys, reply),
    Update: _updated,
    Refresh: lambda verb, words, reply: _state(verb.session_id, (), reply),
    End: lambda verb, words, reply: Ended(reply[1]),
}
