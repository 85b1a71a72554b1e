"""The sharded map, against a plain dict."""

import random

import pytest

from virtlease_session.engine.sharded import ShardedMap, place


@pytest.mark.parametrize("size", [0, 10, 4096, 4097, 20_000])
def test_it_is_a_dict_with_an_order_that_does_not_change(size: int) -> None:
    chance = random.Random(size)
    found, plain = ShardedMap[int](), {}
    for n in range(size):
        key = f"key-{chance.randrange(size * 2)}"
        found.put(key, n)
        plain[key] = n
    for key in list(plain)[::3]:
        found.remove(key)
        del plain[key]
    assert len(found) == len(plain)
    assert all(found.get(key) == value for key, value in plain.items())
    assert found.get("never") is None
    ordered = sorted(plain, key=place)
    assert list(found.after("")) == [plain[key] for key in ordered]
    for index in range(0, len(ordered), max(1, len(ordered) // 7)):
        assert list(found.after(ordered[index])) == [plain[key] for key in ordered[index + 1 :]]


def test_no_part_of_a_large_map_is_large() -> None:
    found = ShardedMap[int]()
    for n in range(200_000):
        found.put(f"key-{n}", n)
    assert max(len(shard) for shard in found._shards) < 2_000
