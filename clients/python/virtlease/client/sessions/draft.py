"""What a session holds as far as one caller knows, and what the caller has changed of it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from virtlease.client.errors import StaleValue
from virtlease.client.sessions.json_text import from_text, to_text
from virtlease.client.sessions.values import plain, tracked
from virtlease.session.v1 import session_pb2 as pb


class Kind(Enum):
    """What happens to a key."""

    SET = 1
    APPEND = 2
    DELETE = 3


@dataclass(slots=True)
class Change:
    """A change of one key. A guarded one happens only if the key is as it was when it was read."""

    kind: Kind
    guarded: bool
    text: str | None = None
    """SET: the value; None when it is in the draft's values, where it may still grow."""
    items: list[str] = field(default_factory=list)


Batch = dict[str, Change]
"""Changes by key that are written together."""


class Draft:
    """Values as they were read, with changes that the service has not got yet.

    A key that was read before it was written is written under the condition that it is still the same: else two
    callers that read, think and write would undo each other's work. A key that was written without being read is
    simply set. Appends need no condition, and an empty list that is put where nothing was and then appended to is
    nothing but appends, so that any number of callers can begin a list together.
    """

    def __init__(self, texts: Mapping[str, str], lock: AbstractContextManager[Any] | None = None) -> None:
        """`lock` is held during each change and what `changed` does about it."""
        self.changed: Callable[[], None] = lambda: None
        """Is called after each change."""
        self.lock = lock or contextlib.nullcontext()
        self.load(texts)

    def load(self, texts: Mapping[str, str]) -> None:
        """Forgets everything, and begins anew with what the service has."""
        self._base = dict(texts)
        self._guessed: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """Forgets all changes and all that was read."""
        self._values: dict[str, Any] = {}
        self._places: dict[str, _Place] = {}
        self._seen: set[str] = set()
        self._changes: Batch = {}

    # Reading

    def keys(self) -> list[str]:
        """The keys that are there, all of which count as read."""
        absent = {key for key, change in self._changes.items() if change.kind is Kind.DELETE}
        present = [key for key in {**self._base, **self._changes} if key not in absent]
        self._seen.update(present)
        return present

    def has(self, key: str) -> bool:
        """Whether there is such a key, which counts as reading it."""
        self._seen.add(key)
        return self._present(key)

    def read(self, key: str) -> Any:
        """The value, whose changes are noticed. Raises KeyError."""
        if not self.has(key):
            raise KeyError(key)
        if key not in self._values:
            change = self._changes.get(key)
            text = change.text if change is not None and change.text is not None else self._base.get(key, "[]")
            self._places[key] = _Place(self, key)
            self._values[key] = tracked(from_text(text), self._places[key], top=True)
        return self._values[key]

    def plain(self) -> dict[str, Any]:
        """A copy of everything."""
        return {key: plain(self.read(key)) for key in self.keys()}

    # Changing

    def assign(self, key: str, value: Any) -> None:
        """Sets a key. Raises NotJson."""
        if value is self._values.get(key, _NOTHING) and isinstance(value, list | dict):
            return  # `session[key] += [...]` ends with this, when the list has told already
        text = to_text(value, f"session[{key!r}]")
        guarded = self._guarded(key)
        begins_list = text == "[]" and guarded and key not in self._base and key not in self._changes
        with self.lock:
            self._release(key)
            self._changes[key] = Change(Kind.APPEND, guarded) if begins_list else Change(Kind.SET, guarded, text)
            self.changed()

    def delete(self, key: str) -> None:
        """Removes a key. Raises KeyError."""
        if not self._present(key):
            raise KeyError(key)
        guarded = self._guarded(key)
        with self.lock:
            self._release(key)
            self._changes[key] = Change(Kind.DELETE, guarded)
            self.changed()

    def note(self, key: str, appended: list[str] | None) -> None:
        """The value under the key was changed in place: by appending, or else anyhow."""
        change = self._changes.get(key)
        if change is not None and change.kind is Kind.SET:
            change.text = None
        elif appended is not None:
            if change is None:
                change = self._changes[key] = Change(Kind.APPEND, guarded=False)
            change.items += appended
        else:
            self._changes[key] = Change(Kind.SET, guarded=True)
        self.changed()

    # Writing

    def take(self) -> Batch:
        """What there is to write, as it is now; changes from now on are for the next time."""
        batch, self._changes = self._changes, {}
        for key, change in batch.items():
            if change.kind is Kind.SET and change.text is None:
                change.text = to_text(self._values[key], f"session[{key!r}]")
        return batch

    def doubtful(self, batch: Batch) -> list[str]:
        """Keys whose text is needed for a condition, and known by its meaning alone: read them, and `confirm`."""
        return [key for key, change in batch.items() if change.guarded and key in self._guessed]

    def confirm(self, keys: list[str], texts: Mapping[str, str]) -> str | None:
        """Takes over texts that mean what is known already. Returns the first key for which they do not."""
        for key in keys:
            if key not in texts or from_text(texts[key]) != from_text(self._base[key]):
                return key
            self._base[key] = texts[key]
            self._guessed.discard(key)
        return None

    def mutations(self, batch: Batch) -> list[pb.Mutation]:
        """The batch as the service takes it."""
        return [mutation for key, change in batch.items() for mutation in self._mutations(key, change)]

    def written(self, batch: Batch) -> None:
        """The service has the batch."""
        for key, change in batch.items():
            self._guessed.discard(key)
            match change.kind:
                case Kind.SET:
                    assert change.text is not None
                    self._base[key] = change.text
                case Kind.DELETE:
                    self._base.pop(key, None)
                case Kind.APPEND:
                    # Others may have appended too, and the service joins the items in its own way.
                    inner = [self._base.get(key, "[]").strip()[1:-1].strip(), *change.items]
                    self._base[key] = f"[{','.join(item for item in inner if item)}]"
                    self._guessed.add(key)

    def _mutations(self, key: str, change: Change) -> Iterator[pb.Mutation]:
        if change.kind is Kind.APPEND and change.items:
            for item in change.items:
                yield pb.Mutation(key=key, append=pb.Append(item=item))
            return
        mutation = pb.Mutation(key=key)
        if change.kind is Kind.DELETE:
            mutation.delete = True
        else:
            mutation.set = change.text or "[]"
        if change.guarded:
            if key in self._base:
                mutation.precondition.equals = self._base[key]
            else:
                mutation.precondition.exists = False
        yield mutation

    def _present(self, key: str) -> bool:
        if (change := self._changes.get(key)) is not None:
            return change.kind is not Kind.DELETE
        return key in self._base

    def _guarded(self, key: str) -> bool:
        change = self._changes.get(key)
        return key in self._seen if change is None else change.guarded

    def _release(self, key: str) -> None:
        """What was read under the key is the caller's own from now on: the session has another value."""
        self._values.pop(key, None)
        if (place := self._places.pop(key, None)) is not None:
            place.draft = None


_NOTHING = object()


class _Place:
    """See `values.Place`."""

    def __init__(self, draft: Draft, key: str) -> None:
        self.draft: Draft | None = draft
        self.key = key
        self.name = f"session[{key!r}]"

    @contextlib.contextmanager
    def change(self, appended: list[str] | None) -> Iterator[None]:
        draft = self.draft
        if draft is not None and draft._places.get(self.key) is not self:
            raise StaleValue(f"{self.name} was read anew since; take it from the session again")
        with draft.lock if draft is not None else contextlib.nullcontext():
            yield
            if draft is not None:
                draft.note(self.key, appended)


def begins_a_list(batch: Batch, key: str) -> bool:
    """Whether all that the batch does is to put an empty list where there is none."""
    change = batch.get(key)
    return len(batch) == 1 and change is not None and change.kind is Kind.APPEND and not change.items
