"""What the gateway can be told."""

from typing import Annotated, Literal, Self

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

    toolsets: Words = ("sessions", "vms", "snapshots", "hypervisors", "leases")
    """The toolsets that are offered. Tools of services from a file belong to the toolset they name."""

    allow_tools: Words = ()
    """Offer only tools with these names; `get_*` stands for all that begin so. All of the toolsets when empty."""

    deny_tools: Words = ()
    """Offer no tools with these names, whatever allows them."""

    allow_hypervisors: Words = ()
    """Reach only these hypervisors; `test-*` stands for all that begin so. All when empty."""

    deny_hypervisors: Words = ()
    """Never reach these hypervisors, whatever allows them."""

    read_only: bool | None = None
    """Offer no tool that writes. Without it that holds beyond loopback when nobody is asked who they are."""

    confirmation: Literal["ask_or_token", "ask", "none", "refuse"] = "ask_or_token"
    """How a call is confirmed that can lose data. `ask`: by the client's user (elicitation). `ask_or_token`: where the
    client cannot ask, by a second call with a token that the first one returned with its plan. `none`: not at all.
    `refuse`: such tools are not offered."""

    key_file: FilePath | None = None
    """A secret of 32 bytes or more, the same for all replicas: what one of them has asked, another can be told. A
    random one when absent."""

    allowed_hosts: Words = ()
    """Names under which clients reach the gateway, besides the address it listens on."""

    allowed_origins: Words = ()
    """Web pages that may call it from a browser, as `https://host`, besides its own."""

    public_url: str | None = Field(None, pattern=r"^https?://[^/]+/?$")
    """The URL under which clients know the gateway, without /mcp. With an issuer of tokens, it is where they find that
    issuer by itself (OAuth 2.0 protected resource metadata)."""

    jwt_jwks_uri: str | None = Field(None, pattern=r"^https?://")
    """Where an issuer publishes the keys of its JSON Web Tokens. With it, such tokens are taken."""

    jwt_issuer: str | None = None
    """The `iss` of those tokens."""

    jwt_audience: str | None = None
    """The `aud` that they must be for."""

    jwt_algorithm: str = "RS256"
    """How they are signed."""

    jwt_owner_claim: str = "sub"
    """The claim that names the owner."""

    jwt_tenant_claim: str | None = None
    """The claim that names the tenant. All are of the tenant `default` without it."""

    leases_per_owner: int = Field(4, ge=0, le=1000)
    """How many leases the sessions of one owner may hold. None at all when 0."""

    call_timeout: float = Field(60, gt=0, le=3600)
    """How long one tool call may take."""

    max_request_bytes: int = Field(4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    """The largest MCP request."""

    rate_limit: float = Field(2000, ge=0)
    """Requests a second that one caller may make, and twice as many at once after a pause. No limit when 0."""

    access_log: bool = True
    """Log a line for each HTTP request."""

    workers: int = Field(1, ge=1, le=64)
    """Processes that serve the address. With more than one, clients older than the protocol 2026-07-28 are refused."""

    sticky_routing: bool = False
    """Serve older clients whatever the number of workers and replicas: whoever distributes requests sends those with
    one Mcp-Session-Id to one process."""

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("VIRTLEASE_GATEWAY_TLS_CERTIFICATE and VIRTLEASE_GATEWAY_TLS_KEY go together")
        return self

    @model_validator(mode="after")
    def _issuer_is_whole(self) -> Self:
        issuer = (self.jwt_jwks_uri, self.jwt_issuer, self.jwt_audience)
        if any(issuer) and not all(issuer):
            # A token that names no audience could be one that another service passed on.
            raise ValueError(
                "VIRTLEASE_GATEWAY_JWT_JWKS_URI, VIRTLEASE_GATEWAY_JWT_ISSUER and VIRTLEASE_GATEWAY_JWT_AUDIENCE "
                "go together"
            )
        return self

    @property
    def serves_legacy(self) -> bool:
        """Whether clients of the older protocol find the process that has their session."""
        return self.workers == 1 or self.sticky_routing

    def channel(self, target: str, max_message_bytes: int) -> ChannelOptions:
        """How to reach a service."""
        return ChannelOptions(
            target=target,
            tls_ca=None if target.startswith("unix:") else self.tls_ca,
            tls_certificate=self.tls_certificate,
            tls_key=self.tls_key,
            max_message_bytes=max_message_bytes,
        )
