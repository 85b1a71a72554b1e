"""Where Redis is: what the setting says, taken apart."""

import ssl
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

Address = tuple[str, int]

_PORT, _SENTINEL_PORT = 6379, 26379
_FORMS = (
    "redis://host[:port][/db], redis+cluster://host[:port][,host[:port]…] "
    "or redis+sentinel://host[:port][,…]/service[/db]; rediss for TLS"
)


class Kind(Enum):
    """How the servers stand to each other."""

    SINGLE = ""
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


@dataclass(frozen=True)
class Target:
    """One or more servers, and how to speak to them."""

    kind: Kind
    addresses: tuple[Address, ...]
    username: str = ""
    password: str = ""
    database: int = 0
    service: str = ""
    """The name under which the sentinels know the primary."""
    secure: bool = False
    """Whether it is TLS that is spoken."""
    ca: str = ""
    """The file with the authorities that are trusted; those of the system when it is empty."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What TLS needs, or None. Raises OSError for a file that cannot be read."""
        return ssl.create_default_context(cafile=self.ca or None) if self.secure else None

    def __str__(self) -> str:
        """For logs: without what is secret."""
        return f"{self.kind.value or 'redis'} at " + ", ".join(f"{host}:{port}" for host, port in self.addresses)


def parse(url: str) -> Target:
    """Takes a URL apart. `ca=FILE` in its query names the authorities that TLS trusts.

    Raises ValueError, without the URL in it: it may hold a password.
    """
    parts = urlsplit(url)
    scheme, _, kind_name = parts.scheme.partition("+")
    if scheme not in ("redis", "rediss") or kind_name not in ("", "cluster", "sentinel"):
        raise ValueError(f"not of the form {_FORMS}")
    kind = Kind(kind_name)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    addresses = tuple(_address(host, _SENTINEL_PORT if kind is Kind.SENTINEL else _PORT) for host in hosts.split(","))
    path = [unquote(part) for part in parts.path.split("/") if part]
    service = path.pop(0) if kind is Kind.SENTINEL and path else ""
    if (kind is Kind.SENTINEL) != bool(service) or len(path) > 1 or any(not part.isdigit() for part in path):
        raise ValueError(f"not of the form {_FORMS}")
    if kind is Kind.SINGLE and len(addresses) > 1:
        raise ValueError("more than one server: redis+cluster:// or redis+sentinel://")
    if kind is Kind.CLUSTER and path:
        raise ValueError("a cluster has no databases")
    query = dict(parse_qsl(parts.query))
    ca = query.pop("ca", "")
    if ca and not (scheme == "rediss" and Path(ca).is_file()):
        raise ValueError("ca names a file, and goes with rediss")
    if query:
        raise ValueError(f"unknown parameters: {', '.join(query)}")
    database = int(path[0]) if path else 0
    secure = scheme == "rediss"
    return Target(kind, addresses, unquote(username), unquote(password), database, service, secure, ca)


def _address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"not of the form {_FORMS}")
    return parts.hostname, parts.port or default_port
