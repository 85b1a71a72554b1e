"""What the gateway can be told."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, FilePath, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from virtlease_chassis.address import Address, AddressSetting
from virtlease_chassis.rpc import ChannelOptions
from virtlease_chassis.settings import Settings


def _words(value: object) -> object:
    return tuple(word for word in value.replace(",", " ").split() if word) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
"""Words with commas or spaces between them."""


class GatewaySettings(Settings):
    """Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="VIRTLEASE_GATEWAY_")

    address: AddressSetting = Address(host="127.0.0.1", port=8000)
    """Where MCP clients connect, under /mcp."""

    session_target: str = "127.0.0.1:50051"
    """Where the session service is, as gRPC names targets: host:port, dns:///name:port, unix:/path."""

    pool_target: str = "127.0.0.1:50052"
    """Where the pool service is."""

    services_file: FilePath | None = None
    """A YAML file of more gRPC services to offer as tools."""

    token_file: FilePath | None = None
    """The bearer token by which the gateway is known to the services. It needs the scope act_as."""

    tls_ca: FilePath | None = None
    """The authority that signed the services' certificates. With it, they are called over TLS."""

    tls_certificate: FilePath | None = None
    """A certificate of the gateway's own, where the services want one."""

    tls_key: FilePath | None = None
    """The key of that certificate."""

    toolsets: Words = ("sessions", "vms", "hypervisors", "leases")
    """The toolsets that are offered. Tools of services from a file belong to the toolset they name."""

    read_only: bool = False
    """Offer no tool that writes."""

    allowed_hosts: Words = ()
    """Names under which clients reach the gateway, besides the address it listens on."""

    call_timeout: float = Field(60, gt=0, le=3600)
    """How long one tool call may take."""

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("VIRTLEASE_GATEWAY_TLS_CERTIFICATE and VIRTLEASE_GATEWAY_TLS_KEY go together")
        return self

    def channel(self, target: str, max_message_bytes: int) -> ChannelOptions:
        """How to reach a service."""
        return ChannelOptions(
            target=target,
            tls_ca=None if target.startswith("unix:") else self.tls_ca,
            tls_certificate=self.tls_certificate,
            tls_key=self.tls_key,
            max_message_bytes=max_message_bytes,
        )
