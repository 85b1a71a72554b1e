"""Identity files for tests."""

import hashlib
from pathlib import Path

import yaml

TOKENS = {name: f"token-of-{name}" for name in ("alice", "bob", "carol", "reader", "gateway")}
SCOPES = {
    "alice": ["*"],
    "bob": ["*"],
    "carol": ["pool:lease", "pool:read", "vm:read"],
    "reader": ["session:read", "vm:read"],
    "gateway": ["act_as"],
}


def write_identities(folder: Path) -> Path:
    """A file with alice and bob, who may do everything, carol, who may lease, a reader, and a gateway."""
    entries = [
        {
            "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
            "tenant": "acme",
            "owner": owner,
            "scopes": SCOPES[owner],
        }
        for owner, token in TOKENS.items()
    ]
    path = folder / "identities.yaml"
    path.write_text(yaml.safe_dump({"identities": entries}))
    return path


def bearer(owner: str) -> tuple[tuple[str, str], ...]:
    """The metadata by which gRPC knows an owner."""
    return (("authorization", f"Bearer {TOKENS[owner]}"),)
