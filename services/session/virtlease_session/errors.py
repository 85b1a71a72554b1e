"""What can go wrong with a session."""

from virtlease_chassis.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
)

RESOURCE = "session"


class SessionNotFound(NotFound):
    """Raised for a session that never was, or that is somebody else's: the two must look the same."""

    reason = "SESSION_NOT_FOUND"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is no session {session_id!r}", resource_type=RESOURCE, resource_name=session_id)


class SessionExpired(NotFound):
    """Raised for a session of the caller's that was not used in time."""

    reason = "SESSION_EXPIRED"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"the session {session_id!r} has expired", resource_type=RESOURCE, resource_name=session_id)


class SessionEnded(NotFound):
    """Raised for a session of the caller's that was ended."""

    reason = "SESSION_ENDED"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"the session {session_id!r} was ended", resource_type=RESOURCE, resource_name=session_id)


class SessionExists(AlreadyExists):
    """Raised when an id of the caller's choice is in use."""

    reason = "SESSION_EXISTS"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"the session {session_id!r} exists already", metadata={"session_id": session_id})


class Conflict(Aborted):
    """Raised when the session is not in the state that a write was meant for; carries its present etag."""

    reason = "SESSION_CONFLICT"

    def __init__(self, session_id: str, etag: str, message: str, key: str = "") -> None:
        metadata = {"session_id": session_id, "etag": etag, **({"key": key} if key else {})}
        super().__init__(message, metadata=metadata)

    @classmethod
    def other_etag(cls, session_id: str, etag: str) -> "Conflict":
        return cls(session_id, etag, f"the session's etag is {etag}")

    @classmethod
    def other_incarnation(cls, session_id: str, etag: str) -> "Conflict":
        return cls(session_id, etag, "the session is of another incarnation")

    @classmethod
    def precondition(cls, session_id: str, etag: str, key: str, number: int) -> "Conflict":
        """`number` is that of the mutation."""
        return cls(session_id, etag, f"mutations[{number}]: the precondition on {key!r} does not hold", key)


class WrongType(FailedPrecondition):
    """Raised when the value under a key is not what an increment or an append needs."""

    reason = "WRONG_VALUE_TYPE"

    def __init__(self, key: str, needed: str) -> None:
        super().__init__(f"the value of {key!r} is not {needed}", metadata={"key": key})


class IncrementOverflow(FailedPrecondition):
    """Raised when a sum does not fit 64 bits."""

    reason = "INCREMENT_OVERFLOW"

    def __init__(self, key: str) -> None:
        super().__init__(f"the sum under {key!r} does not fit 64 bits", metadata={"key": key})


class Compacted(OutOfRange):
    """Raised for a resume token whose place in the history is no longer kept: list anew, and watch from now on."""

    reason = "COMPACTED"

    def __init__(self) -> None:
        super().__init__("the changes after this token are no longer kept; list anew, then watch without a token")


class WatcherTooSlow(ResourceExhausted):
    """Raised when a watcher did not read changes before they were dropped: it can resume from its last token."""

    reason = "WATCHER_TOO_SLOW"

    def __init__(self) -> None:
        super().__init__("changes were dropped before this watch read them", subject="watch")


class StoreUnavailable(Unavailable):
    """Raised when the store cannot be reached, or cannot be written to. A write may have had its effect."""

    reason = "STORE_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("the session store cannot be reached", retry_after=1)


class RequestIdReused(InvalidArgument):
    """Raised when a request id comes again with another request."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self) -> None:
        super().__init__("request_id", "was used with a different request")
