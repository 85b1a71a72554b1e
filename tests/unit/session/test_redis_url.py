"""Where Redis is, out of a URL."""

import pytest

from virtlease_chassis.redis_url import Kind, parse
from virtlease_chassis.settings import SettingsError, load
from virtlease_session.settings import SessionSettings


def test_one_server() -> None:
    target = parse("redis://user:p%40ss@host:7000/3")
    assert (target.kind, target.addresses) == (Kind.SINGLE, (("host", 7000),))
    assert (target.username, target.password, target.database) == ("user", "p@ss", 3)
    assert not target.secure
    assert parse("redis://host").addresses == (("host", 6379),)
    assert "ss" not in str(target)


def test_many_servers() -> None:
    cluster = parse("redis+cluster://:secret@a,b:7001,[::1]:7002")
    assert cluster.addresses == (("a", 6379), ("b", 7001), ("::1", 7002))
    sentinel = parse("rediss+sentinel://a,b:26380/sessions/2")
    assert (sentinel.addresses, sentinel.service, sentinel.database) == (
        (("a", 26379), ("b", 26380)), "sessions", 2,
    )  # fmt: skip
    assert sentinel.secure


@pytest.mark.parametrize(
    "url",
    [
        "http://host", "redis://", "redis://a,b", "redis://host/x", "redis://host/1/2", "redis://host?timeout=3",
        "redis+cluster://a,b/1", "redis+sentinel://a,b", "redis+other://a", "redis://host:port", "",
    ],
)  # fmt: skip
def test_what_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(url)


def faults(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(f"VIRTLEASE_SESSION_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load(SessionSettings)
    return str(caught.value)


def test_a_wrong_url_is_named_and_its_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    message = faults(monkeypatch, REDIS_URL="redis://:hunter2@a,b")
    assert "VIRTLEASE_SESSION_REDIS_URL: more than one server" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("setting", ["WORKERS", "SHARE_PORT"])
@pytest.mark.parametrize(("folder", "why"), [("", "in memory"), ("/tmp", "in a folder that one process owns")])
def test_several_processes_are_refused_where_each_would_have_its_own_sessions(
    monkeypatch: pytest.MonkeyPatch, setting: str, folder: str, why: str
) -> None:
    value = {"WORKERS": "2", "SHARE_PORT": "true"}[setting]
    message = faults(monkeypatch, DATA_DIR=folder, **{setting: value})
    assert f"VIRTLEASE_SESSION_{setting}: sessions are kept {why}" in message
    assert "set VIRTLEASE_SESSION_REDIS_URL" in message


def test_sessions_are_kept_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "exclude each other" in faults(monkeypatch, DATA_DIR="/tmp", REDIS_URL="redis://host")
