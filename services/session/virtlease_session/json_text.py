"""JSON values as text: checked at the door, then kept as they came.

Text, since protobuf's Value turns 12345678901234567 into 12345678901234568 and takes NaN.
"""

import re
from typing import Any

import orjson

MAX_DEPTH = 64

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
INT64 = range(-(2**63), 2**63)


class BadJson(ValueError):
    """Raised when text is not a JSON value that can be kept; says what is wrong with it."""


def check(text: str) -> None:
    """Raises BadJson unless the text is one JSON value: no NaN, no lone surrogate, no key twice, depth at most 64."""
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise BadJson(f"not JSON: {error}") from error
    if isinstance(value, dict | list):
        keys = _count_keys(value, 1)
        # Every key is followed by a colon, and outside of strings there are no others.
        if keys != _STRING.sub("", text).count(":"):
            raise BadJson("an object has the same key twice")


def _count_keys(value: Any, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise BadJson(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        return len(value) + sum(
            _count_keys(item, depth + 1) for item in value.values() if isinstance(item, dict | list)
        )
    return sum(_count_keys(item, depth + 1) for item in value if isinstance(item, dict | list))


def as_int64(text: str) -> int | None:
    """The integer that the text spells, if it is one of 64 bits."""
    text = text.strip()
    if _INTEGER.fullmatch(text) and (value := int(text)) in INT64:
        return value
    return None
