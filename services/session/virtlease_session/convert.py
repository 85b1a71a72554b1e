"""Between messages and the model: the only place that knows both."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from virtlease.session.v1 import session_calls_pb2 as calls
from virtlease.session.v1 import session_pb2 as pb
from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.wire import duration, fingerprint, milliseconds, timestamp
from virtlease_session.limits import Limits, check_labels, check_request_id, check_session_id
from virtlease_session.model import (
    Append,
    Delete,
    Expected,
    Increment,
    Mutation,
    NewSession,
    Operation,
    RequestKey,
    SessionState,
    Set,
)


def to_message(state: SessionState) -> pb.Session:
    """A session as callers see it."""
    return pb.Session(
        session_id=state.session_id,
        etag=state.etag,
        values=state.values,
        labels=state.labels,
        idle_ttl=duration(state.idle_ttl),
        create_time=timestamp(state.created_at),
        update_time=timestamp(state.updated_at),
        expire_time=timestamp(state.expires_at),
        max_expire_time=timestamp(state.max_expires_at),
    )


def to_new_session(
    request: calls.CreateSessionRequest | calls.GetOrCreateSessionRequest, limits: Limits, idle_ttl: int
) -> NewSession:
    """What to create. Raises InvalidArgument. `idle_ttl` in ms holds when the request has none."""
    if request.session_id:
        check_session_id(request.session_id)
    life = lifetime(request.max_life, "max_life", limits) if request.HasField("max_life") else limits.max_life
    idle = lifetime(request.idle_ttl, "idle_ttl", limits) if request.HasField("idle_ttl") else min(idle_ttl, life)
    if idle > life:
        raise InvalidArgument("idle_ttl", "longer than max_life")
    values, labels = dict(request.values), dict(request.labels)
    limits.check_values(values, "values")
    check_labels(labels)
    return NewSession(request.session_id, idle, life, values, labels)


def lifetime(value: Duration, field: str, limits: Limits) -> int:
    """A time to live in ms. Raises InvalidArgument when no session can have it."""
    found = milliseconds(value)
    limits.check_lifetime(found, field)
    return found


def to_mutations(messages: Sequence[pb.Mutation], limits: Limits, *, system: bool) -> list[Mutation]:
    """What to change. Raises InvalidArgument."""
    if not messages:
        raise InvalidArgument("mutations", "at least one")
    if len(messages) > limits.keys:
        raise InvalidArgument("mutations", f"at most {limits.keys}")
    return [_to_mutation(message, f"mutations[{number}]", limits, system) for number, message in enumerate(messages)]


def _to_mutation(message: pb.Mutation, field: str, limits: Limits, system: bool) -> Mutation:
    limits.check_key(message.key, f"{field}.key", system=system)
    operation = _to_operation(message, field, limits)
    if not message.HasField("precondition"):
        return Mutation(message.key, operation)
    match message.precondition.WhichOneof("condition"):
        case "exists":
            return Mutation(message.key, operation, exists=message.precondition.exists)
        case "equals":
            return Mutation(message.key, operation, equals=message.precondition.equals)
    raise InvalidArgument(f"{field}.precondition", "give exists or equals")


def _to_operation(message: pb.Mutation, field: str, limits: Limits) -> Operation:
    match message.WhichOneof("operation"):
        case "set":
            limits.check_value(message.set, f"{field}.set")
            return Set(message.set)
        case "delete":
            if not message.delete:
                raise InvalidArgument(f"{field}.delete", "true, when given")
            return Delete()
        case "increment":
            return Increment(message.increment)
        case "append":
            limits.check_value(message.append.item, f"{field}.append.item")
            return Append(message.append.item, message.append.max_items, message.append.max_bytes)
    raise InvalidArgument(field, "give one of set, delete, increment and append")


def to_expected(
    request: calls.UpdateSessionRequest | calls.EndSessionRequest | calls.RefreshSessionRequest,
) -> Expected:
    """The state that a write is meant for."""
    etag = "" if isinstance(request, calls.RefreshSessionRequest) else request.etag
    return Expected(etag, request.incarnation)


def to_request_key(method: str, request: Message) -> RequestKey | None:
    """The name of a write, if its caller gave it one. Raises InvalidArgument."""
    request_id: str = request.request_id  # type: ignore[attr-defined]  # every write has it
    if not request_id:
        return None
    check_request_id(request_id)
    return RequestKey(method, request_id, fingerprint(request))
