"""What can go wrong, on one page.

VirtleaseError
+-- CallFailed              a service refused a call, or was not reached; has code, reason, metadata, retry_after
|   +-- InvalidRequest      a field is wrong, whatever the state; `faults` names it
|   +-- NotAuthenticated    the service does not know who is calling: a token or a certificate is missing or wrong
|   +-- NotAllowed          it is known who is calling, and they may not
|   +-- NotFound            there is no such thing, or not for this caller
|   |   +-- SessionNotFound
|   |       +-- SessionExpired   it was not used in time
|   |       +-- SessionEnded     it was ended
|   +-- SessionConflict     somebody else changed what was read before it was written; read again, or use update(fn)
|   +-- LeaseLost           the lease is over, and the connection with it; take another
|   +-- WrongState          the request is right, the state of the VM or the value is not
|   +-- OutcomeUnknown      a writing call may have had its effect; look before trying again
|   +-- LimitReached        a quota, a limit, or too many waiting
|   +-- TimedOut            no answer in time (a TimeoutError)
|   +-- ServiceUnavailable  the service or the hypervisor cannot be reached now (a ConnectionError)
|   +-- NotSupported        this service or this hypervisor cannot do it
+-- NotJson                 a value that JSON cannot spell (a TypeError)
+-- StaleValue              a list or dict taken from a session before it was read anew
+-- Closed                  used after close, or in the child of a fork
+-- ServerMissing           embedded use without virtlease[server] (an ImportError)
"""

from dataclasses import dataclass, field
from typing import Self

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class VirtleaseError(Exception):
    """Whatever this library raises by itself."""


@dataclass(eq=False)
class CallFailed(VirtleaseError):
    """A call that a service refused, or that did not reach it.

    `reason` is the machine-readable word of the service (docs/errors.md), empty when the failure is the transport's.
    `retry_after` is in seconds. `faults` has what is wrong by the path of the field.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    faults: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"

    @classmethod
    def of(cls, code: grpc.StatusCode, message: str, reason: str = "", **details: object) -> "CallFailed":
        """The failure as the class that stands for its reason, or else for its code."""
        kind = _BY_REASON.get(reason) or _BY_CODE.get(code, CallFailed)
        return kind(code, message, reason, **details)  # type: ignore[arg-type]

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> "CallFailed":
        """Reads a google.rpc.Status with its details."""
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        retry_after = None
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(bad)
            if detail.Unpack(retry):
                retry_after = retry.retry_delay.ToMilliseconds() / 1000
        return cls.of(
            _CODES.get(status.code, grpc.StatusCode.UNKNOWN),
            status.message,
            info.reason,
            metadata=dict(info.metadata),
            retry_after=retry_after,
            faults=tuple((violation.field, violation.description) for violation in bad.field_violations),
        )

    @classmethod
    def from_rpc_error(cls, error: grpc.aio.AioRpcError) -> "CallFailed":
        """Reads the error of a call of its own."""
        for key, value in error.trailing_metadata():
            if key == _DETAILS_KEY and isinstance(value, bytes):
                return cls.from_status(status_pb2.Status.FromString(value))
        return cls.of(error.code(), error.details() or "")

    def advised(self, advice: str) -> Self:
        """The same, with what to do about it added to the message."""
        self.message = f"{self.message}; {advice}" if self.message else advice
        return self


class InvalidRequest(CallFailed):
    """A field of the request is wrong; `faults` names it."""


class NotAuthenticated(CallFailed):
    """The service does not know who is calling."""


class NotAllowed(CallFailed):
    """It is known who is calling, and they may not."""


class NotFound(CallFailed):
    """There is no such thing, or not for this caller."""


class SessionNotFound(NotFound):
    """There is no such session, or it is somebody else's."""


class SessionExpired(SessionNotFound):
    """The session was not used in time, or reached its greatest age."""


class SessionEnded(SessionNotFound):
    """The session was ended."""


class SessionConflict(CallFailed):
    """What was read has been changed by somebody else before it was written. `metadata["key"]` says which."""


class LeaseLost(CallFailed):
    """The lease is over, and the connection with it."""


class WrongState(CallFailed):
    """The state of the VM, or of the value, does not allow it."""


class OutcomeUnknown(CallFailed):
    """The call may have had its effect."""


class LimitReached(CallFailed):
    """A quota, a limit, or too many that wait."""


class TimedOut(CallFailed, TimeoutError):
    """No answer in time. A call that writes may have had its effect."""


class ServiceUnavailable(CallFailed, ConnectionError):
    """The service, or what it needs, cannot be reached now."""


class NotSupported(CallFailed):
    """This service, or this hypervisor, cannot do it."""


class NotJson(VirtleaseError, TypeError):
    """A value that JSON cannot spell."""


class StaleValue(VirtleaseError):
    """A list or dict that was taken from a session before the session was read anew."""


class Closed(VirtleaseError):
    """Used after it was closed, or in the child of a fork."""


class ServerMissing(VirtleaseError, ImportError):
    """Embedded use needs the services: `pip install 'virtlease[server]'`."""


_BY_REASON: dict[str, type[CallFailed]] = {
    "SESSION_NOT_FOUND": SessionNotFound,
    "SESSION_EXPIRED": SessionExpired,
    "SESSION_ENDED": SessionEnded,
    "SESSION_CONFLICT": SessionConflict,
    "LEASE_NOT_FOUND": LeaseLost,
    "LEASE_EXPIRED": LeaseLost,
    "LEASE_KILLED": LeaseLost,
    "LEASE_RELEASED": LeaseLost,
    "LEASE_LOST": LeaseLost,
    "OUTCOME_UNKNOWN": OutcomeUnknown,
}
_BY_CODE: dict[grpc.StatusCode, type[CallFailed]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthenticated,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitReached,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.UNIMPLEMENTED: NotSupported,
}
