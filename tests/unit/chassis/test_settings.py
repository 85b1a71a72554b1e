"""Settings: one message with all that is wrong."""

from pathlib import Path

import pytest

from virtlease_chassis.address import Address
from virtlease_chassis.settings import ProcessSettings, SettingsError, load
from virtlease_gateway.settings import GatewaySettings
from virtlease_pool.settings import PoolSettings
from virtlease_session.settings import SessionSettings


def faults(monkeypatch: pytest.MonkeyPatch, *groups: type, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(ProcessSettings, *groups)
    return str(caught.value)


def test_defaults_are_those_of_the_design() -> None:
    settings = load(ProcessSettings, SessionSettings, PoolSettings, GatewaySettings)
    session, pool, gateway = settings[SessionSettings], settings[PoolSettings], settings[GatewaySettings]
    assert (str(session.address), str(pool.address), str(gateway.address)) == (
        "127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:8000",
    )  # fmt: skip
    assert (session.idle_ttl, session.cleanup_interval, session.max_life) == (3600, 300, 86_400)
    assert (pool.max_size, pool.idle_ttl, pool.max_usage, pool.acquire_timeout, pool.lease_ttl) == (8, 300, 100, 30, 15)
    limits = session.limits
    assert (limits.key_bytes, limits.value_bytes, limits.session_bytes, limits.keys) == (256, 65_536, 1_048_576, 1024)


def test_all_faults_are_in_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = faults(
        monkeypatch,
        SessionSettings,
        VIRTLEASE_LOG_LEVEL="LOUD",
        VIRTLEASE_SESSION_IDEL_TTL="5",
        VIRTLEASE_SESSION_MAX_LIFE="soon",
        VIRTLEASE_SESSION_ADDRESS="nowhere",
        VIRTLEASE_IDENTITY_FILE=str(tmp_path / "missing.yaml"),
        VIRTLEASE_SOMETHING="1",
    )
    for part in (
        "VIRTLEASE_LOG_LEVEL: ",
        "VIRTLEASE_SESSION_IDEL_TTL: no such setting; did you mean VIRTLEASE_SESSION_IDLE_TTL?",
        "VIRTLEASE_SESSION_MAX_LIFE: ",
        "(is 'soon')",
        "VIRTLEASE_SESSION_ADDRESS: expected host:port or unix:/path",
        "VIRTLEASE_IDENTITY_FILE: ",
        "VIRTLEASE_SOMETHING: no such setting",
    ):
        assert part in message


def test_settings_of_other_processes_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTLEASE_CLIENT_TOKEN", "secret")
    monkeypatch.setenv("VIRTLEASE_POOL_MAX_SIZE", "not even a number")
    load(ProcessSettings, SessionSettings)
    assert "VIRTLEASE_POOL_MAX_SIZE" in faults(monkeypatch, SessionSettings, PoolSettings)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"VIRTLEASE_SESSION_IDLE_TTL": "9", "VIRTLEASE_SESSION_MAX_LIFE": "8"}, "longer than"),
        ({"VIRTLEASE_TLS_CLIENT_CA": "/etc/hostname"}, "needs VIRTLEASE_TLS_CERTIFICATE"),
        ({"VIRTLEASE_TLS_KEY": "/etc/hostname"}, "go together"),
    ],
)
def test_settings_that_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
) -> None:
    assert says in faults(monkeypatch, SessionSettings, **environment)


def test_an_exposed_address_needs_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    common = load(ProcessSettings)[ProcessSettings]
    for local in ("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/tmp/s"):
        common.check_exposed(Address.parse(local), "X")
    for exposed in ("0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"):
        with pytest.raises(SettingsError, match="VIRTLEASE_IDENTITY_FILE"):
            common.check_exposed(Address.parse(exposed), "X")
    monkeypatch.setenv("VIRTLEASE_INSECURE", "true")
    load(ProcessSettings)[ProcessSettings].check_exposed(Address.parse("0.0.0.0:1"), "X")


@pytest.mark.parametrize("text", ["127.0.0.1:50051", "[::1]:1", "unix:/run/s.sock", "host.name:65535", "0.0.0.0:0"])
def test_addresses_survive_a_round_trip(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:x", "host:65536", "unix:relative"])
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Address.parse(text)
