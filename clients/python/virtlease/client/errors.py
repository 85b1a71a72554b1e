"""What a caller learns from a call that failed."""

from dataclasses import dataclass, field
from typing import Self

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(eq=False)
class CallFailed(Exception):
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
    def from_status(cls, status: status_pb2.Status) -> Self:
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
        return cls(
            code=_CODES.get(status.code, grpc.StatusCode.UNKNOWN),
            message=status.message,
            reason=info.reason,
            metadata=dict(info.metadata),
            retry_after=retry_after,
            faults=tuple((violation.field, violation.description) for violation in bad.field_violations),
        )

    @classmethod
    def from_rpc_error(cls, error: grpc.aio.AioRpcError) -> Self:
        """Reads the error of a call of its own."""
        for key, value in error.trailing_metadata():
            if key == _DETAILS_KEY and isinstance(value, bytes):
                return cls.from_status(status_pb2.Status.FromString(value))
        return cls(code=error.code(), message=error.details() or "")
