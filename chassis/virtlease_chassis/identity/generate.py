"""Makes tokens for a small set-up: `python -m virtlease_chassis.identity.generate FOLDER`.

Writes an identity file, the gateway's token and a user's token into the folder, once: what is there stays.
"""

import secrets
import sys
from pathlib import Path

import yaml

from virtlease_chassis.identity.authenticator import hash_token
from virtlease_chassis.identity.principal import ACT_AS, EVERYTHING

IDENTITIES = "identities.yaml"
GATEWAY_TOKEN = "gateway.token"
USER_TOKEN = "user.token"


def generate(folder: Path) -> None:
    """Makes what is missing. Only the owner of the files can read them."""
    if (folder / IDENTITIES).exists():
        return
    gateway, user = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    identities = [
        {"token_sha256": hash_token(gateway), "tenant": "virtlease", "owner": "gateway", "scopes": [ACT_AS]},
        {"token_sha256": hash_token(user), "tenant": "default", "owner": "user", "scopes": [EVERYTHING]},
    ]
    _write(folder / GATEWAY_TOKEN, gateway)
    _write(folder / USER_TOKEN, user)
    _write(folder / IDENTITIES, yaml.safe_dump({"identities": identities}, sort_keys=False))


def _write(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content)


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
