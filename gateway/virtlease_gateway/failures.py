"""What a tool caller is told when a call fails: what happened, whether a retry helps, and what to do next."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import grpc

from virtlease.client import CallFailed
from virtlease_gateway.translate import BadArguments

# Codes after which the same call can succeed.
_RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED})

# What to do about a reason, and the tools that it speaks of: a hint is given only where they are offered.
HINTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "SESSION_EXPIRED": ("Call create_session and go on with the session_id it returns.", ("create_session",)),
    "SESSION_ENDED": ("Call create_session and go on with the session_id it returns.", ("create_session",)),
    "SESSION_NOT_FOUND": (
        "Call list_sessions to see your sessions, or create_session for a new one.",
        ("list_sessions", "create_session"),
    ),
    "SESSION_CONFLICT": ("Read the session again with get_session, then repeat the change.", ("get_session",)),
    "VM_NOT_FOUND": ("Call list_vms to see which VMs there are.", ("list_vms",)),
    "VM_GONE": ("Call list_vms to see which VMs there are.", ("list_vms",)),
    "VM_AMBIGUOUS": ("Give the VM as hypervisor/name.", ()),
    "HYPERVISOR_NOT_FOUND": ("Call list_hypervisors to see which there are.", ("list_hypervisors",)),
    "HYPERVISOR_NOT_OFFERED": ("Call list_hypervisors to see which there are.", ("list_hypervisors",)),
    "HYPERVISOR_UNAVAILABLE": ("Call list_hypervisors to see its health; try again later.", ("list_hypervisors",)),
    "ALREADY_IN_STATE": ("There is nothing left to do.", ()),
    "WRONG_STATE": ("Bring the VM into a state that the message names, then repeat the call.", ()),
    "STATE_MISMATCH": ("Read the VM with get_vm and decide anew.", ("get_vm",)),
    "STATE_CHANGED": ("Call the tool again without a confirmation to see what it would do now.", ()),
    "CONFIRMATION_USED": ("Call the tool again without a confirmation.", ()),
    "CONFIRMATION_EXPIRED": ("Call the tool again without a confirmation.", ()),
    "CONFIRMATION_INVALID": ("Call the tool again without a confirmation.", ()),
    "CONFIRMATION_DECLINED": ("Do not try again unless you are asked to.", ()),
    "CONFIRMATION_UNSUPPORTED": ("Ask a person to do it with a client that supports elicitation.", ()),
    "OUTCOME_UNKNOWN": ("Read the VM with get_vm to see whether the call had its effect.", ("get_vm",)),
    "ACQUIRE_TIMEOUT": ("All connections are in use. Try again later.", ()),
    "TOO_MANY_HELD_LEASES": ("Call release_lease with one that is no longer needed.", ("release_lease",)),
    "LEASE_EXPIRED": ("Call acquire_lease for another lease, or leave lease_id out.", ("acquire_lease",)),
    "LEASE_RELEASED": ("Call acquire_lease for another lease, or leave lease_id out.", ("acquire_lease",)),
    "LEASE_NOT_FOUND": ("Call acquire_lease for a lease, or leave lease_id out.", ("acquire_lease",)),
    "LEASE_LOST": ("Call acquire_lease for another lease, or leave lease_id out.", ("acquire_lease",)),
    "INVALID_ARGUMENTS": ("Correct the arguments that the message names.", ()),
    "UNSUPPORTED_BY_HYPERVISOR": ("This hypervisor cannot do it; do not try again.", ()),
}

OWN_REASONS: dict[str, tuple[str, str]] = {
    "INVALID_ARGUMENTS": ("INVALID_ARGUMENT", "arguments do not fit the tool; names them all"),
    "HYPERVISOR_NOT_OFFERED": ("PERMISSION_DENIED", "this deployment does not reach that hypervisor"),
    "HELD_LEASE_OVER": ("ABORTED", "the lease that a session held was over before a call that writes; call again"),
    "TOO_MANY_HELD_LEASES": ("RESOURCE_EXHAUSTED", "the owner's sessions hold as many leases as they may"),
    "NO_RESULT": ("INTERNAL", "a service ended a call without a result"),
    "CONFIRMATION_REQUIRED": (
        "FAILED_PRECONDITION",
        "a call can lose data, and was not made; has the plan and a token",
    ),
    "CONFIRMATION_DECLINED": ("FAILED_PRECONDITION", "the client's user said no"),
    "CONFIRMATION_UNSUPPORTED": ("FAILED_PRECONDITION", "the client can ask nobody, and there are no tokens"),
    "CONFIRMATION_EXPIRED": ("FAILED_PRECONDITION", "nobody answered in time, or a token is too old"),
    "CONFIRMATION_INVALID": ("FAILED_PRECONDITION", "a token is forged, or for another call or user"),
    "CONFIRMATION_USED": ("FAILED_PRECONDITION", "a confirmation came a second time"),
    "STATE_CHANGED": ("FAILED_PRECONDITION", "what was confirmed changed before the call"),
}
"""The gateway's own reasons, with their codes and when they are told: for docs/errors.md."""


@dataclass(eq=False)
class ToolFailure(Exception):
    """A failed tool call. `retry_after` is in seconds; `details` stand beside the rest in the structured error."""

    code: str
    reason: str
    message: str
    retryable: bool = False
    retry_after: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def structured(self, hint: str, trace_id: str) -> dict[str, Any]:
        """The error as JSON."""
        structured: dict[str, Any] = {
            "code": self.code,
            "reason": self.reason,
            "message": self.message,
            "retryable": self.retryable,
        }
        if self.retry_after is not None:
            structured["retry_after_seconds"] = self.retry_after
        if hint:
            structured["hint"] = hint
        if trace_id:
            structured["trace_id"] = trace_id
        return {**structured, **self.details}

    def hint(self, tools: Container[str]) -> str:
        """What to do about it, where the tools that it speaks of are offered."""
        hint, needs = HINTS.get(self.reason, ("", ()))
        return hint if all(tool in tools for tool in needs) else ""

    def to_text(self, hint: str, trace_id: str) -> str:
        """The error in words."""
        lines = [f"{self.reason or self.code}: {self.message}"]
        if self.retryable:
            after = f" after {self.retry_after:g} s" if self.retry_after else ""
            lines.append(f"The same call may succeed{after}.")
        if hint:
            lines.append(hint)
        lines += (f"{name}: {value}" for name, value in self.details.items() if isinstance(value, str))
        if trace_id:
            lines.append(f"trace id: {trace_id}")
        return "\n".join(lines)


def bad_arguments(error: BadArguments) -> ToolFailure:
    """For arguments that do not fit the tool."""
    return ToolFailure("INVALID_ARGUMENT", "INVALID_ARGUMENTS", str(error))


def call_failure(failure: CallFailed) -> ToolFailure:
    """For a call that a service refused, or that never reached one."""
    return ToolFailure(
        code=failure.code.name,
        reason=failure.reason or failure.code.name,
        message=_message(failure),
        retryable=failure.code in _RETRYABLE,
        retry_after=failure.retry_after,
    )


def _message(failure: CallFailed) -> str:
    """The service's words; but the transport's own name addresses, and an internal error has nothing to say."""
    if failure.reason and failure.code is not grpc.StatusCode.INTERNAL:
        return failure.message
    match failure.code:
        case grpc.StatusCode.UNAVAILABLE:
            return "the service cannot be reached"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return "the service did not answer in time; whether the call had its effect is not known"
        case grpc.StatusCode.CANCELLED:
            return "the call was cancelled"
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return "the message is too large"
    return "the service failed; its log has more under the trace id"
