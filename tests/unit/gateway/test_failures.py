"""What callers are told of failures."""

import re
from pathlib import Path

import grpc
import pytest

import virtlease_gateway
from virtlease.client import CallFailed
from virtlease_gateway.failures import HINTS, OWN_REASONS, call_failure


def test_every_reason_of_the_gateways_own_is_known_to_the_errors_page() -> None:
    sources = "\n".join(path.read_text() for path in Path(virtlease_gateway.__path__[0]).rglob("*.py"))
    raised = set(re.findall(r'(?:_refused\(|ToolFailure\(\s*"[A-Z_]+",)\s*"([A-Z_]+)"', sources))
    assert {"CONFIRMATION_REQUIRED", "HYPERVISOR_NOT_OFFERED"} <= raised
    assert raised - {"PERMISSION_DENIED", "STATE_MISMATCH"} <= set(OWN_REASONS)


def test_a_hint_speaks_only_of_tools_that_it_needs() -> None:
    for reason, (hint, needs) in HINTS.items():
        assert set(re.findall(r"\b(?:list|get|create|acquire|release)_[a-z_]+", hint)) == set(needs), reason


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_g3_the_transports_words_are_never_told(code: grpc.StatusCode) -> None:
    failure = call_failure(CallFailed.of(code, "failed to connect to ipv4:10.1.2.3:50051: Traceback secret"))
    assert "10.1.2.3" not in failure.to_text("", "")
    assert "secret" not in failure.to_text("", "")
    assert failure.reason == code.name
