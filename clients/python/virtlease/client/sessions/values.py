"""Lists and dicts of a session that tell it when they are changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, SupportsIndex

from virtlease.client.sessions.json_text import from_text, to_text


class Place(Protocol):
    """Where in a session a list or a dict is."""

    name: str
    """As an error names it: `session['vms']`."""

    def change(self, appended: "list[str] | None") -> AbstractContextManager[None]:
        """Surrounds a change. `appended` has the JSON texts of items that go to the end of the top-level list; None
        for any other change. Raises StaleValue when the session has other values by now."""
        ...


def tracked(value: Any, place: Place, *, top: bool = False) -> Any:
    """The value with its lists and dicts replaced by ones that tell the place of their changes."""
    if isinstance(value, dict):
        return TrackedDict({key: tracked(item, place) for key, item in value.items()}, place)
    if isinstance(value, list):
        return TrackedList([tracked(item, place) for item in value], place, top=top)
    return value


def plain(value: Any) -> Any:
    """A copy without the tracking."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _changes(method: Callable[..., Any]) -> Callable[..., Any]:
    """A mutator that takes no new values."""

    def change(self: Any, *arguments: Any, **named: Any) -> Any:
        with self._place.change(None):
            return method(self, *arguments, **named)

    return change


class TrackedList(list[Any]):
    """A list in a session. An append to a list directly under a key stays one; other changes replace the key."""

    __slots__ = ("_place", "_top")

    def __init__(self, items: Iterable[Any], place: Place, *, top: bool) -> None:
        super().__init__(items)
        self._place = place
        self._top = top

    def append(self, item: Any) -> None:
        self.extend((item,))

    def extend(self, items: Iterable[Any]) -> None:
        texts = [to_text(item, f"{self._place.name}[{len(self) + at}]") for at, item in enumerate(items)]
        if texts:
            with self._place.change(texts if self._top else None):
                super().extend(self._own(texts))

    def __iadd__(self, items: Iterable[Any]) -> "TrackedList":  # type: ignore[misc]
        self.extend(items)
        return self

    def insert(self, index: SupportsIndex, item: Any) -> None:
        (own,) = self._own([to_text(item, f"{self._place.name}[{index.__index__()}]")])
        with self._place.change(None):
            super().insert(index, own)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            own: Any = list(self._own([to_text(item, self._place.name) for item in value]))
        else:
            (own,) = self._own([to_text(value, f"{self._place.name}[{index}]")])
        with self._place.change(None):
            super().__setitem__(index, own)

    __delitem__ = _changes(list.__delitem__)
    __imul__ = _changes(list.__imul__)
    pop = _changes(list.pop)
    remove = _changes(list.remove)
    clear = _changes(list.clear)
    sort = _changes(list.sort)
    reverse = _changes(list.reverse)

    def __reduce__(self) -> Any:
        return list, (plain(self),)

    def __deepcopy__(self, _memo: Any) -> Any:
        return plain(self)

    def _own(self, texts: Iterable[str]) -> Iterator[Any]:
        return (tracked(from_text(text), self._place) for text in texts)


class TrackedDict(dict[str, Any]):
    """A dict in a session. A change replaces the key of the session under which it is."""

    __slots__ = ("_place",)

    def __init__(self, items: Mapping[str, Any], place: Place) -> None:
        super().__init__(items)
        self._place = place

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, *others: Any, **more: Any) -> None:
        texts = {key: to_text({key: item}, self._place.name) for key, item in dict(*others, **more).items()}
        if texts:
            with self._place.change(None):
                super().update({key: tracked(from_text(text)[key], self._place) for key, text in texts.items()})

    def __ior__(self, other: Any) -> "TrackedDict":  # type: ignore[override, misc]
        self.update(other)
        return self

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    __delitem__ = _changes(dict.__delitem__)
    pop = _changes(dict.pop)
    popitem = _changes(dict.popitem)
    clear = _changes(dict.clear)

    def __reduce__(self) -> Any:
        return dict, (plain(self),)

    def __deepcopy__(self, _memo: Any) -> Any:
        return plain(self)
