"""The checkers of histories can fail: what is wrong with a history is found."""

import dataclasses
import random

import pytest
from support.histories import UNKNOWN, Call, check_versions, linearizable


def right(length: int = 40, callers: int = 4, seed: int = 1) -> list[Call]:
    """A history that happened: calls overlap, each happens at some moment of its own."""
    chance = random.Random(seed)
    free = [0.0] * callers
    planned = []
    for _ in range(length):
        caller = chance.randrange(callers)
        begun = free[caller] + chance.random()
        done = begun + chance.random() * 3
        free[caller] = done
        planned.append((chance.uniform(begun, done), begun, done))
    version, value, calls = 1, 0, []
    for _, begun, done in sorted(planned):
        kind = chance.choice(["add", "add", "read", "conditional", "lost"])
        if kind == "read":
            calls.append(Call(begun, done, version=version, value=value))
        elif kind == "conditional" and chance.random() < 0.5:
            calls.append(Call(begun, done, add=1, only_if=version - 1, version=version, refused=True))
        else:
            add = chance.randint(1, 5)
            only_if = version if kind == "conditional" else None
            version, value = version + 1, value + add
            if kind == "lost":
                calls.append(Call(begun, UNKNOWN, add=add))
            else:
                calls.append(Call(begun, done, add=add, only_if=only_if, version=version, value=value))
    return calls


@pytest.mark.parametrize("seed", range(20))
def test_what_can_have_happened_is_accepted(seed: int) -> None:
    assert check_versions(right(200, seed=seed)) == []
    assert linearizable(right(24, seed=seed))


def test_a_lost_update_is_found() -> None:
    calls = [Call(0, 1, add=1, version=2, value=1), Call(0, 1, add=1, version=2, value=1)]
    assert check_versions(calls)
    assert not linearizable(calls)


def test_a_stale_read_is_found() -> None:
    calls = [Call(0, 1, add=1, version=2, value=1), Call(2, 3, version=1, value=0)]
    assert check_versions(calls)
    assert not linearizable(calls)


def test_a_write_that_nobody_made_is_found() -> None:
    calls = [Call(0, 1, add=1, version=3, value=2), Call(2, 3, version=3, value=2)]
    assert check_versions(calls)
    assert not linearizable(calls)
    assert check_versions([*calls, Call(0, UNKNOWN, add=1)]) == []
    assert linearizable([*calls, Call(0, UNKNOWN, add=1)])


def test_a_condition_that_did_not_hold_is_found() -> None:
    calls = [Call(0, 1, add=1, version=2, value=1), Call(2, 3, add=1, only_if=1, version=3, value=2)]
    assert check_versions(calls)
    assert not linearizable(calls)


@pytest.mark.parametrize("seed", range(20))
def test_one_wrong_answer_in_a_long_history_is_found(seed: int) -> None:
    calls = [call for call in right(150, seed=seed) if call.known]
    chance = random.Random(seed)
    # Without the unknown ones there are gaps: put them right first
    version, value, put_right = 1, 0, []
    for call in sorted(calls, key=lambda call: (call.version, call.add == 0 or call.refused)):
        if call.add and not call.refused:
            only_if = version if call.only_if is not None else None
            version, value = version + 1, value + call.add
            put_right.append(dataclasses.replace(call, version=version, value=value, only_if=only_if))
    assert check_versions([dataclasses.replace(call, begun=0, done=1000) for call in put_right]) == []
    index = chance.randrange(len(put_right))
    wrong = dataclasses.replace(put_right[index], version=put_right[index].version + chance.choice([-1, 1]))
    assert check_versions([*put_right[:index], wrong, *put_right[index + 1 :]])
