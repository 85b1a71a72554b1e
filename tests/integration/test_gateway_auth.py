"""JSON Web Tokens: who is let in, as whom, and where a client finds the issuer."""

import asyncio
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastmcp import Client
from fastmcp.server.auth.providers.jwt import RSAKeyPair
from joserfc.jwk import RSAKey
from support.processes import Addresses, virtlease_up

ISSUER = "https://idp.example"
AUDIENCE = "https://mcp.example/mcp"


class Issuer:
    """Signs tokens, and publishes its key on a loopback port."""

    def __init__(self) -> None:
        self._keys = RSAKeyPair.generate()

    def token(self, subject: str, *scopes: str, audience: str = AUDIENCE, **claims: object) -> str:
        return self._keys.create_token(
            subject=subject, issuer=ISSUER, audience=audience, scopes=list(scopes), additional_claims=claims, kid="k1"
        )

    @contextlib.contextmanager
    def published(self) -> Iterator[str]:
        key = RSAKey.import_key(self._keys.public_key).as_dict(private=False)
        body = json.dumps({"keys": [{**key, "kid": "k1", "alg": "RS256", "use": "sig"}]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def up(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    folder = tmp_path_factory.mktemp("jwt")
    identities = folder / "identities.yaml"
    identities.write_text("identities: []")
    with issuer.published() as jwks:
        settings = {
            "VIRTLEASE_IDENTITY_FILE": str(identities),
            "VIRTLEASE_GATEWAY_JWT_JWKS_URI": jwks,
            "VIRTLEASE_GATEWAY_JWT_ISSUER": ISSUER,
            "VIRTLEASE_GATEWAY_JWT_AUDIENCE": AUDIENCE,
            "VIRTLEASE_GATEWAY_JWT_TENANT_CLAIM": "org",
            "VIRTLEASE_GATEWAY_PUBLIC_URL": "https://mcp.example",
            "VIRTLEASE_GATEWAY_ALLOWED_HOSTS": "mcp.example",
        }
        with virtlease_up(folder, **settings) as (addresses, _):
            yield addresses


async def test_a_token_of_the_issuer_is_its_subject_with_its_scopes(up: Addresses, issuer: Issuer) -> None:
    reader = issuer.token("https://idp/users/7", "vm:read", "act_as", org="acme")
    async with Client(up.mcp_url, auth=reader) as client:
        assert (await client.call_tool("get_vm", {"vm_id": "local/test"})).structured_content["vm"]["name"] == "test"
        refused = await client.call_tool("suspend_vm", {"vm_id": "local/test"}, raise_on_error=False)
        error = refused.structured_content["error"]
        assert (error["code"], error["reason"]) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        assert error["message"] == "acme/https:%2F%2Fidp%2Fusers%2F7 lacks the scope vm:write"


async def test_s4_a_session_belongs_to_the_subject_and_their_tenant(up: Addresses, issuer: Issuer) -> None:
    scopes = ("session:read", "session:write")
    async with Client(up.mcp_url, auth=issuer.token("ann", *scopes, org="acme")) as client:
        created = (await client.call_tool("create_session", {})).structured_content
        session_id = created["session"]["session_id"]
        assert not (await client.call_tool("get_session", {"session_id": session_id})).is_error
    for subject, org in (("bob", "acme"), ("ann", "other")):
        async with Client(up.mcp_url, auth=issuer.token(subject, *scopes, org=org)) as client:
            foreign = await client.call_tool("get_session", {"session_id": session_id}, raise_on_error=False)
        assert foreign.structured_content["error"]["reason"] == "SESSION_NOT_FOUND"


async def test_other_tokens_are_refused_and_pointed_to_the_issuer(up: Addresses, issuer: Issuer) -> None:
    stranger = Issuer()
    tokens = {
        "for another audience": issuer.token("ann", "vm:read", audience="https://elsewhere", org="acme"),
        "without a tenant": issuer.token("ann", "vm:read"),
        "signed by somebody else": stranger.token("ann", "vm:read", org="acme"),
        "no token at all": "x",
    }
    async with httpx2.AsyncClient() as client:
        for what, token in tokens.items():
            answer = await client.post(up.mcp_url, json={}, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401, what
        metadata_url = "/.well-known/oauth-protected-resource/mcp"
        assert f'resource_metadata="https://mcp.example{metadata_url}"' in answer.headers["www-authenticate"]
        metadata = (await client.get(f"http://{up.gateway}{metadata_url}")).json()
    assert metadata["authorization_servers"] == [f"{ISSUER}/"]
    assert {"vm:read", "vm:write", "session:write"} <= set(metadata["scopes_supported"])
    await asyncio.sleep(0)


def test_an_issuer_is_set_whole(tmp_path: Path) -> None:
    from virtlease_chassis.settings import SettingsError, load
    from virtlease_gateway.settings import GatewaySettings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIRTLEASE_GATEWAY_JWT_JWKS_URI", "https://idp.example/jwks")
        with pytest.raises(SettingsError, match="go together"):
            load(GatewaySettings)
