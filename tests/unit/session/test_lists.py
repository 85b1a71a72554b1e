"""Lists that grow by appending, against plain lists."""

import json

from hypothesis import given
from hypothesis import strategies as st
from unit.session.test_json_text import JSON

from virtlease_session import lists


@given(st.lists(JSON, max_size=6))
def test_an_array_survives_the_change_of_form(items: list[object]) -> None:
    for text in (json.dumps(items), json.dumps(items, indent=1, ensure_ascii=False)):
        stored = lists.from_json(text)
        assert stored is not None
        assert json.loads(lists.to_json(stored) if stored else "[]") == items


@given(st.lists(JSON, max_size=8), st.integers(0, 5), st.sampled_from([0, 10, 40, 200]))
def test_append_keeps_the_newest_within_the_caps(items: list[object], max_items: int, max_bytes: int) -> None:
    stored, plain = "", []
    for item in items:
        text = json.dumps(item, ensure_ascii=False)
        stored = lists.append(stored, text, max_items, max_bytes)
        plain.append(text)
        while max_items and len(plain) > max_items:
            plain.pop(0)
        while max_bytes and len(plain) > 1 and len(f"[{','.join(plain)}]".encode()) > max_bytes:
            plain.pop(0)
        assert lists.to_json(stored) == f"[{','.join(plain)}]"
        assert lists.json_size(stored) == len(lists.to_json(stored).encode())


def test_what_is_no_array() -> None:
    for text in ('{"a": [1]}', '"[1]"', "1", "null"):
        assert lists.from_json(text) is None
    assert lists.from_json(" [ ] ") == ""
