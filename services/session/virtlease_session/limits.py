"""How large anything may be, and the checks that name the field which is too large."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from virtlease_chassis.errors import InvalidArgument, ResourceExhausted
from virtlease_session import json_text
from virtlease_session.lists import byte_length, value_size

SESSION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
SYSTEM_PREFIX = "_"
_LABEL_BYTES = 256
_LABELS = 32
_REQUEST_ID_BYTES = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes of UTF-8, times in milliseconds."""

    key_bytes: int = 256
    value_bytes: int = 64 * 1024
    session_bytes: int = 1024 * 1024
    keys: int = 1024
    sessions_per_owner: int = 1_000_000
    max_life: int = 86_400_000

    def value_fault(self, text: str) -> str:
        """What is wrong with the text as a JSON value; empty when nothing is."""
        if byte_length(text) > self.value_bytes:
            return f"larger than {self.value_bytes} bytes"
        try:
            json_text.check(text)
        except json_text.BadJson as error:
            return str(error)
        return ""

    def key_fault(self, key: str, *, system: bool) -> str:
        """What is wrong with writing this key; empty when nothing is. `system` allows those that begin with `_`."""
        if not key:
            return "a key is not empty"
        if byte_length(key) > self.key_bytes:
            return f"longer than {self.key_bytes} bytes"
        if key.startswith(SYSTEM_PREFIX) and not system:
            return "keys that begin with _ belong to the system"
        return ""

    def check_values(self, values: Mapping[str, str], field: str) -> None:
        """Raises InvalidArgument unless a session can begin with these values."""
        for key, text in values.items():
            if fault := self.key_fault(key, system=False) or self.value_fault(text):
                raise InvalidArgument(f"{field}[{key!r}]", fault)
        self.check_session(values, field)

    def check_session(self, values: Mapping[str, str], field: str) -> None:
        """Raises InvalidArgument when a session as a whole is too large."""
        if len(values) > self.keys:
            raise self.too_many_keys(field)
        if session_size(values) > self.session_bytes:
            raise self.session_too_large(field)

    def too_many_keys(self, field: str) -> InvalidArgument:
        return InvalidArgument(field, f"a session has at most {self.keys} keys")

    def session_too_large(self, field: str) -> InvalidArgument:
        return InvalidArgument(field, f"a session has at most {self.session_bytes} bytes")

    def list_too_large(self, number: int) -> InvalidArgument:
        """`number` is that of the mutation that appends."""
        return InvalidArgument(f"mutations[{number}].append", f"the list would be larger than {self.value_bytes} bytes")

    def check_lifetime(self, milliseconds: int, field: str) -> None:
        """Raises InvalidArgument unless a session can live this long."""
        if not 1000 <= milliseconds <= self.max_life:
            raise InvalidArgument(field, f"between 1 and {self.max_life / 1000:g} seconds")

    def check_quota(self, owner: str, sessions: int) -> None:
        """Raises ResourceExhausted when an owner has no room for one more session."""
        if sessions >= self.sessions_per_owner:
            raise ResourceExhausted(
                f"{owner} has {self.sessions_per_owner} sessions, and may have no more", subject=owner
            )


def session_size(values: Mapping[str, str]) -> int:
    """The size of a session: its keys and its values as JSON text."""
    return sum(byte_length(key) + value_size(stored) for key, stored in values.items())


def check_session_id(session_id: str, field: str = "session_id") -> None:
    """Raises InvalidArgument unless it can be the id of a session."""
    if not SESSION_ID.fullmatch(session_id):
        raise InvalidArgument(field, "1 to 128 characters of A-Z a-z 0-9 . _ -")


def check_labels(labels: Mapping[str, str], field: str = "labels") -> None:
    """Raises InvalidArgument unless the labels are few and short."""
    if len(labels) > _LABELS:
        raise InvalidArgument(field, f"at most {_LABELS} labels")
    for key, value in labels.items():
        if not key or byte_length(key) > _LABEL_BYTES or byte_length(value) > _LABEL_BYTES:
            raise InvalidArgument(f"{field}[{key!r}]", f"a label has a name, and at most {_LABEL_BYTES} bytes each")


def check_request_id(request_id: str) -> None:
    """Raises InvalidArgument unless the request id is short."""
    if byte_length(request_id) > _REQUEST_ID_BYTES:
        raise InvalidArgument("request_id", f"at most {_REQUEST_ID_BYTES} bytes")
