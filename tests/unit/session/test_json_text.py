"""JSON at the door."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtlease_session import json_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_every_json_value_is_taken(value: object) -> None:
    json_text.check(json.dumps(value))
    json_text.check(json.dumps(value, ensure_ascii=False, indent=2))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "nul", "NaN", "[Infinity]", "-Infinity", "'a'", "{a: 1}", "[1,]", "1 2", "[1", "\ufeff1", '"\t"',
        '"\\ud800"', '"\\udc00\\ud800"', '{"a": 1, "a": 2}', '{"x": [{"a": 1, "\\u0062": 2, "a": 3}]}',
        '{"a\\"b": 1, "a\\"b": 2}', "[" * 65 + "]" * 65, '{"a":' * 65 + "1" + "}" * 65, "[" * 100_000,
        "01", "1.", ".5", "1" * 400, "1e999",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(json_text.BadJson):
        json_text.check(text)


@pytest.mark.parametrize(
    "text", ["[" * 64 + "]" * 64, '{"a": {"a": {"a": 1}}}', '{"a:b": ":", "c": "\\":"}', '"\\ud83d\\ude00"']
)
def test_what_looks_wrong_and_is_right_is_taken(text: str) -> None:
    json_text.check(text)


@given(st.integers())
def test_as_int64(number: int) -> None:
    assert json_text.as_int64(str(number)) == (number if -(2**63) <= number < 2**63 else None)


@pytest.mark.parametrize("text", ["1.0", "1e3", '"1"', "-0x1", "", "[1]", "99999999999999999999"])
def test_what_is_no_int64(text: str) -> None:
    assert json_text.as_int64(text) is None
