"""What a session's changes become: appends stay appends, what was read guards what is written."""

import datetime
import math
import pickle
from copy import deepcopy
from typing import Any

import pytest

from virtlease.client.errors import NotJson, StaleValue
from virtlease.client.sessions.draft import Draft
from virtlease.client.sessions.json_text import from_text, to_text


def written(draft: Draft) -> list[str]:
    """The mutations, in short."""
    return [short(mutation) for mutation in draft.mutations(draft.take())]


def short(mutation: Any) -> str:
    match mutation.WhichOneof("operation"):
        case "append":
            told = f"{mutation.key}+={mutation.append.item}"
        case "delete":
            told = f"del {mutation.key}"
        case _:
            told = f"{mutation.key}={mutation.set}"
    if mutation.HasField("precondition"):
        condition = mutation.precondition
        told += f" if {condition.equals}" if condition.WhichOneof("condition") == "equals" else " if absent"
    return told


def test_a_blind_write_has_no_condition() -> None:
    draft = Draft({"a": "1"})
    draft.assign("a", 2)
    draft.assign("b", {"x": [1, 2.5, None, True, "é"]})
    assert written(draft) == ["a=2", 'b={"x":[1,2.5,null,true,"é"]}']


def test_a_write_after_a_read_is_guarded_by_what_was_read() -> None:
    draft = Draft({"a": "1.0", "gone": "0"})
    draft.assign("a", draft.read("a") + 1)
    assert not draft.has("b")
    draft.assign("b", 1)
    assert draft.has("gone")
    draft.delete("gone")
    assert written(draft) == ["a=2.0 if 1.0", "b=1 if absent", "del gone if 0"]


def test_the_guard_stays_with_what_the_service_has() -> None:
    draft = Draft({"a": "1"})
    draft.assign("a", draft.read("a") + 1)
    draft.assign("a", draft.read("a") + 1)
    batch = draft.take()
    assert [short(each) for each in draft.mutations(batch)] == ["a=3 if 1"]
    draft.written(batch)
    draft.assign("a", draft.read("a") + 1)
    assert written(draft) == ["a=4 if 3"]


def test_appends_to_a_list_of_the_session_stay_appends() -> None:
    draft = Draft({"log": "[1]"})
    log = draft.read("log")
    log.append({"a": []})
    log.extend([2, 3])
    log += [4]
    draft.assign("log", log)  # as `session["log"] += [4]` does
    assert log == [1, {"a": []}, 2, 3, 4]
    assert written(draft) == ['log+={"a":[]}', "log+=2", "log+=3", "log+=4"]


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop(),
        lambda value: value.insert(0, 9),
        lambda value: value.remove(1),
        lambda value: value.sort(key=str),
        lambda value: value.reverse(),
        lambda value: value.clear(),
        lambda value: value.__setitem__(0, 5),
        lambda value: value.__setitem__(slice(0, 1), [5, 6]),
        lambda value: value.__delitem__(0),
        lambda value: value.__imul__(2),
        lambda value: value[1].append(1),
        lambda value: value[1][0].update(x=1),
        lambda value: value[1][0].__setitem__("x", 1),
        lambda value: value[1][0].setdefault("x", []).append(1),
        lambda value: value[1][0].pop("k"),
        lambda value: value[1][0].popitem(),
        lambda value: value[1][0].clear(),
        lambda value: value[1][0].__delitem__("k"),
        lambda value: value[1][0].__ior__({"x": 1}),
    ],
)
def test_any_other_change_replaces_the_key_under_its_condition(change) -> None:
    text = '[ 1, [{"k": 1}] ]'
    draft, expected = Draft({"v": text}), from_text(text)
    change(draft.read("v"))
    change(expected)
    assert draft.read("v") == expected
    assert written(draft) == [f"v={to_text(expected, 'v')} if {text}"]


def test_a_change_after_an_append_takes_the_append_along() -> None:
    draft = Draft({"v": "[1]"})
    draft.read("v").append(2)
    draft.read("v")[0] = 0
    assert written(draft) == ["v=[0,2] if [1]"]


def test_many_can_begin_a_list_together() -> None:
    draft = Draft({})
    assert not draft.has("log")
    draft.assign("log", [])
    draft.read("log").append("mine")
    assert written(draft) == ['log+="mine"']
    empty = Draft({})
    assert not empty.has("log")
    empty.assign("log", [])
    assert written(empty) == ["log=[] if absent"]


def test_after_an_append_the_text_is_doubtful_until_it_is_read() -> None:
    draft = Draft({"v": "[ 1 ]"})
    draft.read("v").append(2)
    draft.written(draft.take())
    draft.read("v")[0] = 0
    batch = draft.take()
    assert draft.doubtful(batch) == ["v"]
    assert draft.confirm(["v"], {"v": "[1,3,2]"}) == "v"  # somebody else appended too
    assert draft.confirm(["v"], {"v": "[1, 2]"}) is None
    assert [short(each) for each in draft.mutations(batch)] == ["v=[0,2] if [1, 2]"]


def test_keys_are_those_that_would_be_there() -> None:
    draft = Draft({"a": "1", "b": "2"})
    draft.delete("a")
    draft.assign("c", 3)
    assert draft.keys() == ["b", "c"]
    assert draft.plain() == {"b": 2, "c": 3}
    with pytest.raises(KeyError):
        draft.read("a")
    with pytest.raises(KeyError):
        draft.delete("a")
    draft.assign("a", [])
    assert draft.read("a") == []


def test_a_value_is_copied_in_and_its_copies_are_plain() -> None:
    draft, mine = Draft({}), [1]
    draft.assign("v", mine)
    mine.append(2)
    assert draft.read("v") == [1]
    for copy in (deepcopy(draft.read("v")), pickle.loads(pickle.dumps(draft.read("v"))), draft.plain()["v"]):
        copy.append(3)
    assert written(draft) == ["v=[1]"]


def test_a_value_that_was_replaced_is_its_readers_own() -> None:
    draft = Draft({"v": "[1]"})
    old = draft.read("v")
    draft.assign("v", [2])
    old.append(3)
    assert draft.read("v") == [2]


def test_a_value_from_before_a_reload_cannot_be_changed_silently() -> None:
    draft = Draft({"v": "[1]"})
    old = draft.read("v")
    draft.load({"v": "[1, 2]"})
    with pytest.raises(StaleValue, match=r"session\['v'\]"):
        old.append(3)
    assert not draft.take()


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({1: "a"}, r"session\['v'\]: a key is text"),
        ({"a": [0, {2}]}, r"session\['v'\]\['a'\]\[1\]: set is not JSON"),
        (datetime.datetime.now(datetime.UTC), r"session\['v'\]: datetime is not JSON; use .isoformat"),
        ([math.nan], r"session\['v'\]\[0\]: JSON has no nan"),
        (b"bytes", "bytes is not JSON"),
        ("\ud800", "surrogate"),
    ],
)
def test_what_is_not_json_is_refused_by_its_place_and_changes_nothing(value, place) -> None:
    draft = Draft({"v": "[]"})
    with pytest.raises(NotJson, match=place):
        draft.assign("v", value)
    assert not draft.take()
    with pytest.raises(NotJson):
        draft.read("v").append(value)
    with pytest.raises(NotJson):
        draft.read("v").insert(0, value)
    assert draft.read("v") == []
    assert not draft.take()


def test_integers_keep_all_their_digits() -> None:
    draft = Draft({"big": "12345678901234567890123"})
    draft.assign("more", draft.read("big") + 1)
    assert written(draft) == ["more=12345678901234567890124"]
