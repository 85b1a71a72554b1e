"""What the pool service can be told."""

import socket
from collections.abc import Callable, Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from virtlease_chassis.address import Address, AddressSetting
from virtlease_chassis.redis_url import Target, parse
from virtlease_chassis.settings import Settings
from virtlease_chassis.watched_file import WatchedFile
from virtlease_pool.core import Policy
from virtlease_pool.hypervisor_file import check_name, check_uri, read_hypervisors
from virtlease_pool.model import HypervisorConfig
from virtlease_pool.peers import parse_peers


def check_peers(value: str) -> str:
    """Raises ValueError unless it lists replicas."""
    parse_peers(value)
    return value


class PoolSettings(Settings):
    """Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="VIRTLEASE_POOL_")

    address: AddressSetting = Address(host="127.0.0.1", port=50052)
    """Where the service listens."""

    hypervisors_file: FilePath | None = None
    """The YAML file that lists the hypervisors. Without it there is one, by the next two settings."""

    hypervisor_name: Annotated[str, AfterValidator(check_name)] = "local"
    """The name of the one hypervisor."""

    hypervisor_uri: Annotated[str, AfterValidator(check_uri)] = "test:///default"
    """Its libvirt URI: libvirt's test driver, unless set otherwise."""

    max_size: int = Field(8, ge=1, le=1000)
    """Connections to a hypervisor at most, unless its entry says otherwise."""

    min_idle: int = Field(0, ge=0)
    """So many free connections to a hypervisor are kept at hand."""

    max_opening: int = Field(2, ge=1)
    """Connections to a hypervisor that are being opened at the same time at most."""

    idle_ttl: float = Field(300, gt=0)
    """A connection that nobody used for so long is closed, unless it is one of the `min_idle`."""

    max_lifetime: float = Field(3600, gt=0)
    """A connection older than this is closed when it is free, up to a tenth earlier by chance."""

    max_usage: int = Field(100, ge=1)
    """A connection is closed after so many leases."""

    check_after: float = Field(30, gt=0)
    """A connection that has not answered for longer is checked before it is lent."""

    keepalive: float = Field(120, gt=0)
    """An idle connection is checked this often."""

    connect_timeout: float = Field(10, gt=0)
    """Callers are told that connecting failed after so long."""

    check_timeout: float = Field(5, gt=0)
    """An idle connection that takes longer than this to answer is closed."""

    leak_after: float = Field(600, gt=0)
    """A connection that is out for longer is reported in the log, with who has it."""

    max_waiting: int = Field(1000, ge=1)
    """More callers than this are not kept waiting for one hypervisor."""

    acquire_timeout: float = Field(30, gt=0, le=3600)
    """How long a caller waits for a connection at most."""

    replica: str = Field("", max_length=253)
    """The name of this replica, which no other one has. The name of the host when it is not set."""

    peers: Annotated[str, AfterValidator(check_peers)] = ""
    """All replicas as `name=host:port`, this one included, with commas between. There is only this one when empty."""

    peers_tls_ca: FilePath | None = None
    """The certificate authority of the replicas, which speak TLS to each other when it is set."""

    lease_ttl: float = Field(15, ge=3, le=300)
    """How long a lease lives without being renewed, when its holder does not say."""

    redis_url: SecretStr | None = None
    """The Redis or Valkey by which replicas share a hypervisor's cap: as VIRTLEASE_SESSION_REDIS_URL. Without it there
    can be one replica."""

    redis_prefix: str = Field("virtlease", pattern="^[A-Za-z0-9._-]{1,64}$")
    """What the names of all keys in Redis begin with."""

    slot_ttl: float = Field(30, ge=1, le=600)
    """How long a replica that died keeps its slots. No shorter than libvirtd takes to notice that a client is gone."""

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_one(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse(url.get_secret_value())
        return url

    @property
    def redis(self) -> Target | None:
        """Where Redis is, if replicas share their caps."""
        return parse(self.redis_url.get_secret_value()) if self.redis_url else None

    @property
    def policy(self) -> Policy:
        """How the pools behave."""
        return Policy(
            max_size=self.max_size,
            min_idle=self.min_idle,
            max_opening=self.max_opening,
            max_waiting=self.max_waiting,
            idle_ttl=self.idle_ttl,
            max_lifetime=self.max_lifetime,
            max_usage=self.max_usage,
            check_after=self.check_after,
            keepalive=self.keepalive,
            connect_timeout=self.connect_timeout,
            check_timeout=self.check_timeout,
            leak_after=self.leak_after,
        )

    @model_validator(mode="after")
    def _knows_itself(self) -> Self:
        if self.peers and self.replica_name not in parse_peers(self.peers):
            raise ValueError(f"VIRTLEASE_POOL_PEERS does not name this replica, {self.replica_name!r}")
        return self

    @property
    def replica_name(self) -> str:
        """What this replica is called."""
        return self.replica or socket.gethostname()

    def hypervisors(self) -> Callable[[], Sequence[HypervisorConfig]]:
        """Says what the hypervisors are now: the file is read anew when it changes.

        Raises SettingsError with all that is wrong with the file; when that is so later, the former list stays.
        """
        if self.hypervisors_file is not None:
            return WatchedFile(self.hypervisors_file, lambda path: read_hypervisors(path, self.max_size)).content
        only = HypervisorConfig(
            self.hypervisor_name, self.hypervisor_uri, max_size=self.max_size, max_in_flight=self.max_size
        )
        found = [only]
        return lambda: found
