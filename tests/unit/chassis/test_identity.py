"""Who is calling: tokens, certificates, and those who act for others."""

import os
import time
from pathlib import Path

import pytest
from support.identities import TOKENS, write_identities

from virtlease_chassis.errors import InvalidArgument, PermissionDenied, Unauthenticated
from virtlease_chassis.identity import Authenticator, Principal
from virtlease_chassis.identity.authenticator import ANONYMOUS, hash_token
from virtlease_chassis.identity.identity_file import read_identities
from virtlease_chassis.settings import SettingsError

PEER = "ipv4:127.0.0.1:1234"


def nobody() -> list[str]:
    return []


def test_without_a_file_everybody_is_anonymous_and_may_everything_but_act_for_others() -> None:
    authenticator = Authenticator(None)
    caller = authenticator.caller({"x-virtlease-principal": "tenant=a&owner=b"}, PEER, nobody)
    assert caller.principal is ANONYMOUS
    assert not caller.authenticated
    assert caller.principal.has("vm:write")
    assert not caller.principal.has("act_as")
    assert (caller.embedded, authenticator.caller({}, "unix:", nobody).embedded) == (False, True)


def test_a_token_says_who_calls(tmp_path: Path) -> None:
    authenticator = Authenticator(write_identities(tmp_path))
    caller = authenticator.caller({"authorization": f"Bearer {TOKENS['alice']}"}, PEER, nobody)
    assert caller.principal.name == "acme/alice"
    assert caller.authenticated
    for wrong in (f"Bearer {TOKENS['alice']}x", f"Basic {TOKENS['alice']}", TOKENS["alice"], "Bearer ", ""):
        with pytest.raises(Unauthenticated):
            authenticator.caller({"authorization": wrong}, PEER, nobody)
    with pytest.raises(Unauthenticated):
        authenticator.caller({}, PEER, nobody)


def test_a_scope_is_needed(tmp_path: Path) -> None:
    authenticator = Authenticator(write_identities(tmp_path))
    reader = authenticator.caller({"authorization": f"Bearer {TOKENS['reader']}"}, PEER, nobody)
    reader.require("vm:read")
    with pytest.raises(PermissionDenied, match="lacks the scope vm:write"):
        reader.require("vm:write")


def test_a_star_stands_for_the_scopes_it_should() -> None:
    of_vms = Principal("acme", "carol", frozenset({"vm:*"}))
    assert of_vms.has("vm:read")
    assert of_vms.has("vm:destroy")
    assert not of_vms.has("pool:read")
    assert not of_vms.has("act_as")
    assert Principal("acme", "carol", frozenset({"*"})).has("pool:read")
    assert not Principal("acme", "carol", frozenset({"*", "vm:*"})).has("act_as")
    assert Principal("acme", "carol", frozenset({"act_as"})).has("act_as")


def test_only_the_trusted_act_for_others(tmp_path: Path) -> None:
    authenticator = Authenticator(write_identities(tmp_path))
    header = Principal("acme", "carol", frozenset({"vm:read", "act_as"})).to_header()

    def call(owner: str, value: str = header):
        return authenticator.caller(
            {"authorization": f"Bearer {TOKENS[owner]}", "x-virtlease-principal": value}, PEER, nobody
        )

    caller = call("gateway")
    assert (caller.principal.name, caller.agent.name, caller.trusted) == ("acme/carol", "acme/gateway", True)
    assert caller.principal.scopes == {"vm:read"}  # it does not pass on by itself
    with pytest.raises(PermissionDenied):
        call("alice")
    for wrong in ("", "carol", "tenant=a", "tenant=a/b&owner=c", "tenant=&owner=c", "owner=c&tenant=a&owner=d", "%"):
        if wrong:
            with pytest.raises(InvalidArgument):
                call("gateway", wrong)


def test_a_principal_survives_its_header() -> None:
    principal = Principal("ac me&", "al=ice+é", frozenset({"vm:read", "*"}))
    assert Principal.from_header(principal.to_header()) == principal


def test_a_certificate_says_who_calls(tmp_path: Path) -> None:
    file = tmp_path / "i.yaml"
    file.write_text("identities: [{certificate: gateway.local, tenant: t, owner: o, scopes: [act_as]}]")
    authenticator = Authenticator(file)
    assert authenticator.caller({}, PEER, lambda: ["other", "gateway.local"]).principal.name == "t/o"
    with pytest.raises(Unauthenticated):
        authenticator.caller({}, PEER, lambda: ["other"])


def test_a_token_of_the_process_itself(tmp_path: Path) -> None:
    extra = Principal("virtlease", "gateway", frozenset({"act_as"}))
    authenticator = Authenticator(write_identities(tmp_path), {"inner": extra})
    assert authenticator.caller({"authorization": "Bearer inner"}, "unix:", nobody).principal is extra


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{tenant: t, owner: o, scopes: []}", "token_sha256 or certificate"),
        ("{token_sha256: abc, tenant: t, owner: o, scopes: []}", "token_sha256"),
        (f"{{token_sha256: {'a' * 64}, tenant: t/u, owner: o, scopes: []}}", "without a slash"),
        (f"{{token_sha256: {'a' * 64}, tenant: t, owner: o}}", "scopes"),
        (f"{{token_sha256: {'a' * 64}, tenant: t, owner: o, scopes: ['V M']}}", "vm:read"),
        (f"{{token: secret, token_sha256: {'a' * 64}, tenant: t, owner: o, scopes: []}}", "token"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, entry: str, says: str) -> None:
    file = tmp_path / "i.yaml"
    file.write_text(f"identities: [{entry}]")
    with pytest.raises(SettingsError) as caught:
        read_identities(file)
    assert says in str(caught.value)
    assert "identities.0" in str(caught.value)


def test_a_token_that_stands_there_twice(tmp_path: Path) -> None:
    file = tmp_path / "i.yaml"
    entry = f"{{token_sha256: {hash_token('t')}, tenant: t, owner: o, scopes: []}}"
    file.write_text(f"identities: [{entry}, {entry}]")
    with pytest.raises(SettingsError, match="stands there twice"):
        read_identities(file)


def test_the_file_is_read_anew_and_a_bad_change_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "i.yaml"

    def write(token: str) -> None:
        file.write_text(
            f"identities: [{{token_sha256: {hash_token(token)}, tenant: t, owner: o, scopes: []}}]" if token else "{"
        )
        moment = time.time_ns() + int(now * 1e9)
        os.utime(file, ns=(moment, moment))

    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    write("first")
    authenticator = Authenticator(file)
    assert authenticator.principal_of_token("first")
    now += 2
    write("second")
    assert authenticator.principal_of_token("second")
    assert not authenticator.principal_of_token("first")
    now += 2
    write("")
    assert authenticator.principal_of_token("second")
    now += 2
    file.unlink()
    assert authenticator.principal_of_token("second")
