"""Applies mutations to values, all or none."""

from collections.abc import Mapping, Sequence
from sys import intern

from virtlease_session import lists
from virtlease_session.engine.record import Record
from virtlease_session.errors import Conflict, IncrementOverflow, WrongType
from virtlease_session.json_text import INT64, as_int64
from virtlease_session.limits import Limits
from virtlease_session.lists import byte_length, to_json, value_size
from virtlease_session.model import Append, Delete, Increment, Mutation, Set

_NOTHING: Mapping[str, int] = {}


class Draft:
    """What a record's values would be after some mutations. They are not touched before `commit`."""

    __slots__ = ("_limits", "_record", "_values", "changes", "growth", "incremented", "new_keys")

    def __init__(self, record: Record, limits: Limits) -> None:
        self._record = record
        self._values = record.values
        self._limits = limits
        self.changes: dict[str, str | None] = {}
        """The new stored value of each key that changed; None for one that is gone."""
        self.incremented = _NOTHING
        self.growth = 0
        """By how many bytes the session grows."""
        self.new_keys = 0
        """By how many keys the session grows."""

    def apply(self, mutations: Sequence[Mutation]) -> None:
        """Adds mutations in order.

        Raises Conflict for the first condition that does not hold, WrongType or IncrementOverflow for a value that
        cannot be changed so, and InvalidArgument for one that would become too large.
        """
        for number, mutation in enumerate(mutations):
            key = mutation.key
            changes = self.changes
            before = changes[key] if key in changes else self._values.get(key)
            if (mutation.exists is not None or mutation.equals is not None) and not _holds(mutation, before):
                raise Conflict.precondition(self._record.session_id, self._record.etag, key, number)
            after = self._after(number, mutation, before)
            changes[key] = after
            self._measure(key, before, after)

    def commit(self) -> None:
        """Makes the changes. Raises InvalidArgument, having made none, when there would be too many keys."""
        values = self._values
        if self.new_keys > 0 and len(values) + self.new_keys > self._limits.keys:
            raise self._limits.too_many_keys("mutations")
        for key, stored in self.changes.items():
            if stored is None:
                values.pop(key, None)
            else:
                values[intern(key)] = stored

    def _after(self, number: int, mutation: Mutation, before: str | None) -> str | None:
        operation = mutation.operation
        kind = type(operation)
        if kind is Set:
            return operation.text  # type: ignore[union-attr]
        match operation:
            case Increment(amount):
                return self._increment(mutation.key, before, amount)
            case Append(item, max_items, max_bytes):
                after = _append(mutation.key, before, item, max_items, max_bytes)
                if lists.json_size(after) > self._limits.value_bytes:
                    raise self._limits.list_too_large(number)
                return after
        assert isinstance(operation, Delete)
        return None

    def _measure(self, key: str, before: str | None, after: str | None) -> None:
        if after is not None:
            self.growth += value_size(after)
        if before is not None:
            self.growth -= value_size(before)
        if (before is None) != (after is None):
            sign = 1 if before is None else -1
            self.growth += sign * byte_length(key)
            self.new_keys += sign

    def _increment(self, key: str, before: str | None, amount: int) -> str:
        current = 0 if before is None else as_int64(before)
        if current is None:
            raise WrongType(key, "an integer of 64 bits")
        total = current + amount
        if total not in INT64:
            raise IncrementOverflow(key)
        self.incremented = {**self.incremented, key: total}
        return str(total)


def _holds(mutation: Mutation, stored: str | None) -> bool:
    if mutation.exists is not None and (stored is not None) != mutation.exists:
        return False
    return mutation.equals is None or (stored is not None and to_json(stored) == mutation.equals)


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
