"""Domain errors to gRPC statuses: the one table, and the google.rpc details that go with it."""

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from virtlease_chassis import errors

DOMAIN = "virtlease"
DETAILS_KEY = "grpc-status-details-bin"

# The nearest class in an error's ancestry decides.
CODES: dict[type[errors.DomainError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DomainError: grpc.StatusCode.UNKNOWN,
}


_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class Relayed(errors.DomainError):
    """What another replica answered to a call that was passed on to it: the caller is told the same."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> "Relayed":
        """Reads the error of a call."""
        details = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
        if isinstance(details, bytes):
            return cls(status_pb2.Status.FromString(details))
        return cls(status_pb2.Status(code=error.code().value[0], message="the replica that is to answer cannot"))

    @property
    def told_reason(self) -> str:
        """The reason that the other replica gave; empty when it gave none."""
        info = error_details_pb2.ErrorInfo()
        for detail in self.status.details:
            if detail.Unpack(info):
                return str(info.reason)
        return ""


def code_of(error: errors.DomainError) -> grpc.StatusCode:
    """The status code of a domain error."""
    if isinstance(error, Relayed):
        return _BY_NUMBER[error.status.code]
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def to_status(error: errors.DomainError, trace_id: str = "") -> status_pb2.Status:
    """The google.rpc.Status of a domain error: always with ErrorInfo, and with the details its kind carries."""
    if isinstance(error, Relayed) and error.told_reason:
        return error.status
    metadata = {**error.metadata, **({"trace_id": trace_id} if trace_id else {})}
    details = [_pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))]
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    match error:
        case errors.InvalidArgument():
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=fault.field, description=fault.description)
                for fault in error.faults
            ]
            details.append(_pack(error_details_pb2.BadRequest(field_violations=violations)))
        case errors.NotFound():
            details.append(
                _pack(
                    error_details_pb2.ResourceInfo(
                        resource_type=error.resource_type,
                        resource_name=error.resource_name,
                        description=error.message,
                    )
                )
            )
        case errors.ResourceExhausted():
            violation = error_details_pb2.QuotaFailure.Violation(subject=error.subject, description=error.message)
            details.append(_pack(error_details_pb2.QuotaFailure(violations=[violation])))
    return status_pb2.Status(code=code_of(error).value[0], message=error.message, details=details)


def internal_status(trace_id: str) -> status_pb2.Status:
    """The status for a fault of ours: it says nothing of the cause, which is in the log under the trace id."""
    info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=DOMAIN, metadata={"trace_id": trace_id} if trace_id else {}
    )
    return status_pb2.Status(
        code=code_pb2.INTERNAL, message="internal error; the service's log has more", details=[_pack(info)]
    )


def _pack(message: error_details_pb2.ErrorInfo | object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed
