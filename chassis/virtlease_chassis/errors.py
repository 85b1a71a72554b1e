"""The errors of the domain, in its own words; `status.py` maps them to gRPC.

    DomainError
    +-- InvalidArgument      the request is wrong, whatever the state
    +-- Unauthenticated      nobody knows who is calling
    +-- PermissionDenied     it is known who is calling, and they may not
    +-- NotFound             there is no such thing, or not for this caller
    +-- AlreadyExists        there is such a thing already
    +-- FailedPrecondition   the request is right, the state is not
    +-- Aborted              the state changed under the request; read again and retry
    +-- OutOfRange           the position asked for is no longer, or not yet, there
    +-- ResourceExhausted    a limit or a quota is reached
    +-- Cancelled            the caller took it back before it was begun
    +-- DeadlineExceeded     the time was up before the work was done
    +-- Unimplemented        this is not done here
    +-- Unavailable          it cannot be done now; retry

A subclass sets `reason`: the machine-readable word that callers may rely on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field of a request; `field` is its path, such as `mutations[2].key`."""

    field: str
    description: str


class DomainError(Exception):
    """Something that the caller is told.

    `metadata` goes to the caller as it is and must hold no secret; `retry_after` is in seconds and says when a
    retry has a chance.
    """

    reason: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class InvalidArgument(DomainError):
    """Raised when a field of a request is wrong; names the field."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str, *, more: tuple[FieldFault, ...] = ()) -> None:
        super().__init__(f"{field}: {description}", metadata={"field": field})
        self.faults = (FieldFault(field, description), *more)


class Unauthenticated(DomainError):
    """Raised when nobody knows who is calling."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(DomainError):
    """Raised when it is known who is calling, and they may not."""

    reason = "PERMISSION_DENIED"


class NotFound(DomainError):
    """Raised when a thing is not there; names its type and its name."""

    reason = "NOT_FOUND"

    def __init__(self, message: str, *, resource_type: str, resource_name: str) -> None:
        super().__init__(message)
        self.resource_type = resource_type
        self.resource_name = resource_name


class AlreadyExists(DomainError):
    """Raised when there is such a thing already."""

    reason = "ALREADY_EXISTS"


class FailedPrecondition(DomainError):
    """Raised when the request is right and the state is not."""

    reason = "FAILED_PRECONDITION"


class Aborted(DomainError):
    """Raised when the state changed under the request."""

    reason = "ABORTED"


class OutOfRange(DomainError):
    """Raised when the position asked for is no longer, or not yet, there."""

    reason = "OUT_OF_RANGE"


class ResourceExhausted(DomainError):
    """Raised when a limit or quota is reached; `subject` names whose or which."""

    reason = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, subject: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.subject = subject


class Cancelled(DomainError):
    """Raised when the caller took a request back before it was begun."""

    reason = "CANCELLED"


class DeadlineExceeded(DomainError):
    """Raised when the time was up before the work was done."""

    reason = "DEADLINE_EXCEEDED"


class Unimplemented(DomainError):
    """Raised when this is not done here."""

    reason = "UNIMPLEMENTED"


class Unavailable(DomainError):
    """Raised when it cannot be done now."""

    reason = "UNAVAILABLE"
