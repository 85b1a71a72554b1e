"""Names, page tokens, request records, logs."""

import json
import logging
import sys

import pytest
from opentelemetry import trace

from virtlease_chassis import page_token
from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.logs import JsonFormatter
from virtlease_chassis.names import snake_case
from virtlease_chassis.request_log import RequestLog, ReusedRequestId
from virtlease_chassis.telemetry import remote_context


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("StartVm", "start_vm"),
        ("GetVmXml", "get_vm_xml"),
        ("GetOrCreateSession", "get_or_create_session"),
        ("GetHTTPStatus", "get_http_status"),
        ("Pause", "pause"),
        ("ListV2Items", "list_v2_items"),
    ],
)
def test_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_a_page_token_is_of_one_selection() -> None:
    token = page_token.encode("äfter", {"a": "1"})
    assert page_token.decode(token, {"a": "1"}) == "äfter"
    assert page_token.encode("", {}) == page_token.decode("", {}) == ""
    with pytest.raises(InvalidArgument, match="other filters"):
        page_token.decode(token, {"a": "2"})


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "bnVsbA==", "WzFd", "eyJhIjoxfQ==", "WyJhIiwgMV0="])
def test_forged_page_tokens(token: str) -> None:
    with pytest.raises(InvalidArgument):
        page_token.decode(token, {})


def test_request_records_are_bounded_by_time_and_by_number() -> None:
    log = RequestLog(most=3)
    for n in range(5):
        log.entry("me", str(n), b"f", now=n).outcome = n
    assert [log.entry("me", str(n), b"f", now=5).outcome for n in (2, 3, 4)] == [2, 3, 4]
    assert log.entry("me", "0", b"f", now=5).outcome is None  # the third youngest is pushed out by it
    with pytest.raises(ReusedRequestId):
        log.entry("me", "4", b"other", now=5)
    assert log.entry("you", "4", b"other", now=5).outcome is None
    assert log.entry("me", "4", b"f", now=600_004).outcome is None
    assert log.purge(now=600_005, budget=1)
    assert not log.purge(now=600_005, budget=10)
    assert len(log) == 1
    log.purge(now=10**9, budget=10)
    assert len(log) == 0


def test_a_request_without_an_outcome_binds_nobody() -> None:
    log = RequestLog()
    log.entry("me", "r", b"f", now=1)
    log.entry("me", "r", b"another body", now=2).outcome = 1
    with pytest.raises(ReusedRequestId):
        log.entry("me", "r", b"f", now=3)


def test_a_log_line_is_json_with_the_trace_it_belongs_to() -> None:
    formatter = JsonFormatter("session")
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, "f", 1, "it %s", ("failed",), sys.exc_info())
    record.session = "s-1"
    carried = remote_context({"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    assert carried is not None
    with trace.use_span(trace.get_current_span(carried)):
        line = json.loads(formatter.format(record))
    assert line["message"] == "it failed"
    assert (line["level"], line["process"], line["session"]) == ("ERROR", "session", "s-1")
    assert (line["trace_id"], line["span_id"]) == ("ab" * 16, "cd" * 8)
    assert "ValueError: broken" in line["exception"]


def test_a_call_without_a_trace_has_no_context() -> None:
    assert remote_context({"user-agent": "x"}) is None
