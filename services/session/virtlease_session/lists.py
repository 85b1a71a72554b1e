"""Lists that grow by appending, as text in which items can be counted and dropped without parsing them.

Each item follows a record separator, U+001E: valid JSON text can hold none. An append is then a concatenation, and
the oldest item ends at the second separator. Readers get an ordinary JSON array.
"""

import re

SEPARATOR = "\x1e"

# One step through an array: a string, a bracket, a comma, or a run of anything else.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]|[^"\[\]{},]+')


def is_list(stored: str) -> bool:
    """Whether a stored value has this form."""
    return stored[0] == SEPARATOR


def to_json(stored: str) -> str:
    """The JSON text of a stored value, whichever form it has."""
    if stored[0] != SEPARATOR:
        return stored
    return f"[{stored[1:].replace(SEPARATOR, ',')}]"


def from_json(text: str) -> str | None:
    """A JSON array in this form, its items as they were written; None when the text is no array.

    An empty array has no items and so no form of its own: it is returned as an empty string.
    """
    text = text.strip()
    if not text.startswith("["):
        return None
    items: list[str] = []
    current: list[str] = []
    depth = 0
    for match in _TOKEN.finditer(text, 1, len(text) - 1):
        token = match.group()
        if token in ("[", "{"):
            depth += 1
        elif token in ("]", "}"):
            depth -= 1
        elif token == "," and depth == 0:
            items.append("".join(current).strip())
            current = []
            continue
        current.append(token)
    last = "".join(current).strip()
    if last:
        items.append(last)
    return "".join(SEPARATOR + item for item in items)


def append(stored: str, item: str, max_items: int, max_bytes: int) -> str:
    """A list with one item more, and without its oldest ones as far as a cap says so (0 is no cap)."""
    stored = f"{stored}{SEPARATOR}{item}"
    if max_items and (excess := stored.count(SEPARATOR) - max_items) > 0:
        stored = _drop(stored, excess)
    if max_bytes and json_size(stored) > max_bytes:
        # The first item from which on it fits; the newest is kept, whatever its size.
        data = stored.encode()
        place = data.find(SEPARATOR.encode(), len(data) + 1 - max_bytes)
        stored = data[place:].decode() if place >= 0 else f"{SEPARATOR}{item}"
    return stored


def json_size(stored: str) -> int:
    """The size in bytes of a list's JSON text: two brackets, and commas in place of all separators but the first."""
    return byte_length(stored) + 1


def value_size(stored: str) -> int:
    """The size in bytes of a stored value's JSON text, whichever form it has."""
    if stored[0] == SEPARATOR:
        return json_size(stored)
    return len(stored) if stored.isascii() else len(stored.encode())


def byte_length(text: str) -> int:
    """The size of text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _drop(stored: str, count: int) -> str:
    end = 0
    for _ in range(count):
        end = stored.find(SEPARATOR, end + 1)
    return stored[end:]
