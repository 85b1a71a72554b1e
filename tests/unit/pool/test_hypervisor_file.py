"""The hypervisor file: what it says, and all that can be wrong with it in one message."""

from pathlib import Path

import pytest

from virtlease_chassis.settings import SettingsError
from virtlease_pool.hypervisor_file import read_hypervisors
from virtlease_pool.peers import parse_peers
from virtlease_pool.settings import PoolSettings


def test_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "h.yaml"
    (tmp_path / "auth.conf").touch()
    file.write_text(
        f"""
        hypervisors:
          - name: local
            uri: test:///default
          - name: far
            uri: qemu+tls://far.example/system
            max_size: 4
            max_in_flight: 2
            auth_file: {tmp_path / "auth.conf"}
            pki_path: {tmp_path}
            labels: {{site: berlin}}
        """
    )
    local, far = read_hypervisors(file, 8)
    assert (local.name, local.uri, local.max_size, local.max_in_flight) == ("local", "test:///default", 8, 8)
    assert (far.max_size, far.max_in_flight, dict(far.labels)) == (4, 2, {"site": "berlin"})
    assert (far.auth_file, far.pki_path) == (tmp_path / "auth.conf", tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["valid dictionary"]),
        ("hypervisors: []", ["hypervisors"]),
        ("hypervisors: [{name: a}]", ["hypervisors.0.uri"]),
        ("hypervisors: [{name: A B, uri: 'nothing'}]", ["hypervisors.0.name", "hypervisors.0.uri"]),
        ("hypervisors: [{name: a, uri: 'test:///default', size: 4}]", ["hypervisors.0.size"]),
        ("hypervisors: [{name: a, uri: 'test:///default', max_size: 0}]", ["hypervisors.0.max_size"]),
        ("hypervisors: [{name: a, uri: 'qemu+tcp://u:secret@h/system'}]", ["auth_file"]),
        ("hypervisors: [{name: a, uri: 'test:///default', auth_file: /nowhere}]", ["hypervisors.0.auth_file"]),
        (
            "hypervisors: [{name: a, uri: 'test:///default'}, {name: a, uri: 'test:///default'}]",
            ["hypervisors.1", "stands there twice"],
        ),
        ("hypervisors: [{name: a, name: b, uri: 'test:///default'}]", ["the key 'name' stands twice"]),
        ("hypervisors: [", ["h.yaml"]),
    ],
)
def test_a_bad_file_is_told_all_that_is_wrong(tmp_path: Path, text: str, says: list[str]) -> None:
    file = tmp_path / "h.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_hypervisors(file, 8)
    for part in says:
        assert part in str(caught.value)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        ("pool-0", "is not name=host:port"),
        ("pool-0=here", "is not name=host:port"),
        ("=here:1", "is not name=host:port"),
        ("pool-0=here:1, pool-0=there:1", "stands there twice"),
        ("pool-1=here:1", "does not name this replica, 'pool-0'"),
    ],
)
def test_a_bad_list_of_replicas_stops_the_start(peers: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PoolSettings(replica="pool-0", peers=peers)


def test_replicas_are_listed_by_name() -> None:
    assert parse_peers("pool-0=a:1, pool-1=b:2,") == {"pool-0": "a:1", "pool-1": "b:2"}
