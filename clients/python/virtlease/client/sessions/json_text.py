"""Values to JSON text and back, exactly: what JSON cannot spell is refused by its place in the value."""

import json
import math
from typing import Any

from virtlease.client.errors import NotJson


def to_text(value: Any, place: str) -> str:
    """The value as JSON text. Integers keep all their digits; a tuple becomes a list.

    Raises NotJson that names the place of what is not JSON, such as `session['vms'][2]`.
    """
    _check(value, place)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotJson(f"{place}: contains half of a surrogate pair, which is not Unicode text") from error
    return text


def from_text(text: str) -> Any:
    """The value that the text spells."""
    return json.loads(text)


def _check(value: Any, place: str) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case float():
            if not math.isfinite(value):
                raise NotJson(f"{place}: JSON has no {value}")
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise NotJson(f"{place}: a key is text in JSON, not {type(key).__name__} ({key!r})")
                _check(item, f"{place}[{key!r}]")
        case list() | tuple():
            for number, item in enumerate(value):
                _check(item, f"{place}[{number}]")
        case _:
            hint = "; use .isoformat()" if hasattr(value, "isoformat") else ""
            raise NotJson(f"{place}: {type(value).__name__} is not JSON{hint}")
