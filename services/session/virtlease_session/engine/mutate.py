"""Applies mutations to values, all or none."""

from collections.abc import Mapping, Sequence

from virtlease_chassis.errors import InvalidArgument
from virtlease_session import lists
from virtlease_session.errors import Conflict, IncrementOverflow, WrongType
from virtlease_session.json_text import INT64, as_int64
from virtlease_session.limits import Limits
from virtlease_session.lists import byte_length, to_json
from virtlease_session.model import Append, Delete, Increment, Mutation, Set


class Draft:
    """What values would be after some mutations. The values themselves are not touched before `commit`."""

    __slots__ = ("_changes", "_limits", "_values", "growth", "incremented")

    def __init__(self, values: dict[str, str], limits: Limits) -> None:
        self._values = values
        self._limits = limits
        self._changes: dict[str, str | None] = {}
        self.incremented: dict[str, int] = {}
        self.growth = 0
        """By how many bytes the session grows."""

    def apply(self, number: int, mutation: Mutation) -> None:
        """Adds one mutation. Raises InvalidArgument, WrongType or IncrementOverflow."""
        key, operation = mutation.key, mutation.operation
        before = self._stored(key)
        match operation:
            case Set(text):
                after: str | None = text
            case Delete():
                after = None
            case Increment(amount):
                after = self._increment(key, before, amount)
            case Append(item, max_items, max_bytes):
                after = _append(key, before, item, max_items, max_bytes)
                if lists.json_size(after) > self._limits.value_bytes:
                    raise InvalidArgument(
                        f"mutations[{number}].append", f"the list would be larger than {self._limits.value_bytes} bytes"
                    )
        self.growth += _size(key, after) - _size(key, before)
        self._changes[key] = after

    def holds(self, mutation: Mutation) -> bool:
        """Whether the mutation's conditions hold, as of the mutations before it."""
        stored = self._stored(mutation.key)
        if mutation.exists is not None and (stored is not None) != mutation.exists:
            return False
        return mutation.equals is None or (stored is not None and to_json(stored) == mutation.equals)

    @property
    def changes(self) -> Mapping[str, str | None]:
        """The new stored value of each key that changed; None for one that is gone."""
        return self._changes

    def commit(self) -> None:
        """Makes the changes. Raises InvalidArgument, having made none, when there would be too many keys."""
        added = sum(1 for key, stored in self._changes.items() if stored is not None and key not in self._values)
        removed = sum(1 for key, stored in self._changes.items() if stored is None and key in self._values)
        if added and len(self._values) + added - removed > self._limits.keys:
            raise InvalidArgument("mutations", f"a session has at most {self._limits.keys} keys")
        for key, stored in self._changes.items():
            if stored is None:
                self._values.pop(key, None)
            else:
                self._values[key] = stored

    def _stored(self, key: str) -> str | None:
        return self._changes[key] if key in self._changes else self._values.get(key)

    def _increment(self, key: str, before: str | None, amount: int) -> str:
        current = 0 if before is None else as_int64(before)
        if current is None:
            raise WrongType(key, "an integer of 64 bits")
        total = current + amount
        if total not in INT64:
            raise IncrementOverflow(key)
        self.incremented[key] = total
        return str(total)


def apply(session_id: str, etag: str, draft: Draft, mutations: Sequence[Mutation]) -> None:
    """Applies mutations to a draft in order. Raises Conflict for the first condition that does not hold."""
    for number, mutation in enumerate(mutations):
        if not draft.holds(mutation):
            raise Conflict(
                session_id,
                etag,
                f"mutations[{number}]: the precondition on {mutation.key!r} does not hold",
                mutation.key,
            )
        draft.apply(number, mutation)


def _append(key: str, before: str | None, item: str, max_items: int, max_bytes: int) -> str:
    if before is None:
        stored = ""
    elif lists.is_list(before):
        stored = before
    else:
        array = lists.from_json(before)
        if array is None:
            raise WrongType(key, "a list")
        stored = array
    return lists.append(stored, item, max_items, max_bytes)


def _size(key: str, stored: str | None) -> int:
    if stored is None:
        return 0
    size = lists.json_size(stored) if lists.is_list(stored) else byte_length(stored)
    return byte_length(key) + size
