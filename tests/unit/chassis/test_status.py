"""Every domain error as a gRPC status with google.rpc details, and back."""

import inspect

import grpc
import pytest
from google.rpc import code_pb2
from grpc.aio import AioRpcError, Metadata

from virtlease.client import CallFailed
from virtlease_chassis import errors, status
from virtlease_pool import errors as pool_errors
from virtlease_session import errors as session_errors

EXAMPLES: list[errors.DomainError] = [
    errors.InvalidArgument("a.b", "is wrong", more=(errors.FieldFault("c", "too"),)),
    errors.Unauthenticated("who?"),
    errors.PermissionDenied("no", metadata={"scope": "vm:write"}),
    errors.NotFound("gone", resource_type="vm", resource_name="a/b"),
    errors.AlreadyExists("there"),
    errors.FailedPrecondition("not now"),
    errors.Aborted("changed"),
    errors.OutOfRange("too old"),
    errors.ResourceExhausted("full", subject="acme/alice", retry_after=2.5),
    errors.Cancelled("never mind"),
    errors.DeadlineExceeded("late"),
    errors.Unimplemented("not here"),
    errors.Unavailable("down", retry_after=1),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_wire(error: errors.DomainError) -> None:
    message = status.to_status(error, trace_id="ab" * 16)
    assert code_pb2.Code.Name(message.code) == status.code_of(error).name
    raised = AioRpcError(
        status.code_of(error),
        Metadata(),
        Metadata((status.DETAILS_KEY, message.SerializeToString())),
        details=message.message,
    )
    failure = CallFailed.from_rpc_error(raised)
    assert (failure.code, failure.message, failure.reason) == (status.code_of(error), error.message, error.reason)
    assert failure.metadata == {**error.metadata, "trace_id": "ab" * 16}
    assert failure.retry_after == error.retry_after
    assert failure.faults == tuple((fault.field, fault.description) for fault in getattr(error, "faults", ()))
    of_status = CallFailed.from_status(message)
    assert (of_status.code, of_status.reason, of_status.faults) == (failure.code, failure.reason, failure.faults)


def test_every_kind_of_error_has_a_code_of_its_own() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.DomainError)]
    assert set(kinds) == set(status.CODES)
    assert len(set(status.CODES.values())) == len(kinds)


@pytest.mark.parametrize("module", [session_errors, pool_errors])
def test_every_domain_error_says_its_reason(module: object) -> None:
    found = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, errors.DomainError) and kind.__module__ == module.__name__
    ]
    assert found
    generic = {kind.reason for kind in status.CODES}
    assert all(kind.reason not in generic and kind.reason.isupper() for kind in found)


def test_an_error_of_the_transport_has_no_reason() -> None:
    failure = CallFailed.from_rpc_error(
        AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), details="refused")
    )
    assert (failure.reason, failure.retry_after, failure.faults) == ("", None, ())


def test_an_internal_error_says_nothing_of_its_cause() -> None:
    message = status.internal_status("ab" * 16)
    assert message.code == code_pb2.INTERNAL
    assert "ab" * 16 in str(message.details[0].value)
