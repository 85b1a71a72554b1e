"""Where a service is, and how to be let in."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc

PREFIX = "VIRTLEASE_CLIENT_"

# What programs are told by their environment; docs/settings.md is made of this.
SETTINGS: Mapping[str, str] = {
    "session_target": "The session service of programs that name none. Without it they have one in their own process.",
    "pool_target": "The pool service of programs that name none. Without it they have one in their own process.",
    "token": "Tells the services who is calling.",
    "tls_ca": "A file with the certificates of the authorities that are trusted; with it, TLS is spoken.",
    "tls_certificate": "A file with the client's own certificate, for services that ask for one.",
    "tls_key": "The file with its key.",
}

# gRPC itself sends again only what never left the client or was not taken by a server. More is for those who know
# whether a call has a request id.
_CHANNEL_ARGUMENTS = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A service to call.

    Attributes:
        address: `host:port`, `dns:///name:port` for all replicas of a name, or `unix:/path`.
        token: sent with every call; a callable is asked anew for each, so that a token can be exchanged.
        tls_ca: a file with the certificates of the authorities that are trusted; with it, TLS is spoken.
        tls_certificate: a file with the client's own certificate, for services that ask for one.
        tls_key: the file with its key.
    """

    address: str
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    tls_ca: Path | str | None = None
    tls_certificate: Path | str | None = None
    tls_key: Path | str | None = None

    def __post_init__(self) -> None:
        if not self.address or "://" in self.address.removeprefix("dns:"):
            raise ValueError(f"target: expected host:port, dns:///name:port or unix:/path, not {self.address!r}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.tls_certificate is not None and self.tls_ca is None:
            raise ValueError("tls_certificate needs tls_ca, the authority that signed the service's certificate")

    @classmethod
    def find(cls, given: "Target | str | None", service: str) -> Self | None:
        """The target that was given, or the one that the environment names for a service; None for neither.

        The token and the files hold for the services of both, and for an address that was given as text.
        """
        if isinstance(given, cls):
            return given
        address = given if given is not None else os.environ.get(f"{PREFIX}{service.upper()}_TARGET") or None
        if address is None:
            return None
        fields = ("token", "tls_ca", "tls_certificate", "tls_key")
        found: Mapping[str, Any] = {name: os.environ.get(PREFIX + name.upper()) or None for name in fields}
        return cls(str(address), **found)

    def open_channel(self) -> grpc.aio.Channel:
        """Opens a channel; it connects at the first call, and again whenever the connection is lost."""
        if self.tls_ca is None:
            return grpc.aio.insecure_channel(self.address, _CHANNEL_ARGUMENTS)
        credentials = grpc.ssl_channel_credentials(
            root_certificates=Path(self.tls_ca).read_bytes(),
            private_key=Path(self.tls_key).read_bytes() if self.tls_key else None,
            certificate_chain=Path(self.tls_certificate).read_bytes() if self.tls_certificate else None,
        )
        return grpc.aio.secure_channel(self.address, credentials, _CHANNEL_ARGUMENTS)

    def metadata(self) -> list[tuple[str, str]]:
        """What tells the service who is calling."""
        token = self.token() if callable(self.token) else self.token
        return [("authorization", f"Bearer {token}")] if token else []
