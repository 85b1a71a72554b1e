"""What callers asked of one session at the same time and were told, and whether any order of it explains that.

Every answer has the session's version, which makes most of it easy (after the idea of Elle: let the history say in
which order it happened): `check_versions` needs no search. `linearizable` searches, after Wing and Gong with the memory
of Lowe, and so takes short histories only, but believes in nothing but the values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

UNKNOWN = float("inf")


@dataclass(frozen=True)
class Call:
    """One call. `done` is UNKNOWN when nobody was told what became of it: it may have happened at any later time.

    An update adds `add` to the counter, or, when `only_if` is given, does so only at that version. A call with `add` 0
    reads. `version` and `value` are what was answered; `refused` says that a condition did not hold.
    """

    begun: float
    done: float
    add: int = 0
    only_if: int | None = None
    version: int = 0
    value: int = 0
    refused: bool = False

    @property
    def known(self) -> bool:
        return self.done != UNKNOWN


@dataclass
class History:
    """The calls on one session, whose counter began with 0 at version 1, and the moments at which things happened."""

    calls: list[Call] = field(default_factory=list)
    moment: int = 0

    def now(self) -> int:
        """A moment later than all before."""
        self.moment += 1
        return self.moment


def check_versions(calls: Sequence[Call]) -> list[str]:
    """What is wrong with a history, by its versions; nothing when all is well."""
    faults: list[str] = []
    writes = {}
    for call in calls:
        if call.add and call.known and not call.refused:
            if call.version in writes:
                faults.append(f"two writes made version {call.version}")
            writes[call.version] = call
    unknown = sum(1 for call in calls if not call.known and call.add)
    last = max([1, *writes, *(call.version for call in calls if call.known)])
    gaps = [version for version in range(2, last + 1) if version not in writes]
    if len(gaps) > unknown:
        faults.append(f"versions {gaps} were made by nobody, and only {unknown} outcomes are unknown")
    if not gaps:  # then every value is known
        value = {1: 0}
        for version in range(2, last + 1):
            value[version] = value[version - 1] + writes[version].add
        faults += [
            f"version {call.version} has {value[call.version]}, and {call} was told otherwise"
            for call in calls
            if call.known and not call.refused and call.value != value[call.version]
        ]
    faults += _out_of_order([call for call in calls if call.known])
    for call in calls:
        if call.known and call.add and not call.refused and call.only_if not in (None, call.version - 1):
            faults.append(f"{call} happened at another version than the one it was meant for")
    return faults


def _out_of_order(calls: Sequence[Call]) -> list[str]:
    """Calls that began when another had been answered, and saw something older."""
    faults = []
    newest = 0
    ended = sorted(calls, key=lambda call: call.done)
    position = 0
    for call in sorted(calls, key=lambda call: call.begun):
        while position < len(ended) and ended[position].done < call.begun:
            newest = max(newest, ended[position].version)
            position += 1
        wrote = call.add and not call.refused
        if call.version < newest + bool(wrote):
            faults.append(f"{call} began after version {newest} was known")
    return faults


def linearizable(calls: Sequence[Call], budget: int = 2_000_000) -> bool:
    """Whether the calls can have happened one after the other, each between its begin and its end.

    Raises RuntimeError when that is not found out within a budget of steps.
    """
    ordered = sorted(calls, key=lambda call: call.begun)
    must = frozenset(index for index, call in enumerate(ordered) if call.known)
    seen: set[tuple[frozenset[int], int, int]] = set()
    stack: list[tuple[frozenset[int], int, int]] = [(frozenset(), 1, 0)]  # what happened, version, value
    while stack:
        happened, version, value = stack.pop()
        if must <= happened:
            return True
        budget -= 1
        if not budget:
            raise RuntimeError("the history is too long to search")
        waiting = [index for index in range(len(ordered)) if index not in happened]
        first_end = min(ordered[index].done for index in waiting)
        for index in waiting:
            call = ordered[index]
            if call.begun > first_end:
                break  # somebody who waits was answered before this began
            for state in _after(call, version, value):
                node = (happened | {index}, *state)
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
    return False


def _after(call: Call, version: int, value: int) -> list[tuple[int, int]]:
    """The states in which the call can leave the session; none when it cannot have happened in this one."""
    holds = call.only_if in (None, version)
    if not call.known:
        return [(version + 1, value + call.add)] if holds else []
    if call.refused:
        return [(version, value)] if not holds and call.version == version else []
    if call.add:
        return [(version + 1, value + call.add)] if holds and call.value == value + call.add else []
    return [(version, value)] if call.value == value else []
