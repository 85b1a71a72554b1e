"""What requests came to, as text for the database."""

from typing import Any

import msgspec

from virtlease_session.model import Ended, Updated


def encode(outcome: object) -> str:
    """The outcome of a request, as the engine remembers it."""
    match outcome:
        case Updated():
            kind, content = "updated", msgspec.to_builtins(outcome)
        case Ended(at):
            kind, content = "ended", at
        case tuple():
            kind, content = "found", list(outcome)
        case _:
            kind, content = "plain", outcome
    return msgspec.json.encode([kind, content]).decode()


def decode(text: str) -> Any:
    """What `encode` was given."""
    kind, content = msgspec.json.decode(text)
    match kind:
        case "updated":
            return msgspec.convert(content, Updated)
        case "ended":
            return Ended(content)
        case "found":
            return tuple(content)
    return content
