"""Network addresses as settings have them: `host:port` or `unix:/path`."""

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. Exactly one of `path` and (`host`, `port`) is set; port 0 lets the system choose."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `host:port`, `[v6]:port` or `unix:/path`. Raises ValueError with what is expected."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/"):
                raise ValueError(f"expected unix:/absolute/path, not {text!r}")
            return cls(path=path)
        host, separator, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not separator or not host or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"expected host:port or unix:/path, not {text!r}")
        return cls(host=host, port=int(port))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _coerce(value: object) -> object:
    return Address.parse(value) if isinstance(value, str) else value


AddressSetting = Annotated[Address, NoDecode, BeforeValidator(_coerce)]
"""An Address as the type of a setting."""
