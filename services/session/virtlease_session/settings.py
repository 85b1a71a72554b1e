"""What the session service can be told."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from virtlease_chassis.address import Address, AddressSetting
from virtlease_chassis.redis_url import Target, parse
from virtlease_chassis.settings import Settings
from virtlease_session.limits import Limits


class SessionSettings(Settings):
    """Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="VIRTLEASE_SESSION_")

    address: AddressSetting = Address(host="127.0.0.1", port=50051)
    """Where the service listens."""

    data_dir: Path | None = None
    """A folder in which sessions outlive the process (SQLite). Without it they are kept in memory alone."""

    redis_url: SecretStr | None = None
    """The Redis or Valkey in which sessions are kept, for any number of replicas:
    redis://[user:password@]host[:port][/database], redis+cluster://host[,host…], redis+sentinel://host[,host…]/service;
    rediss:// for TLS, with ?ca=FILE for the authorities that are trusted."""

    redis_prefix: str = Field("virtlease", pattern="^[A-Za-z0-9._-]{1,64}$")
    """What the names of all keys in Redis begin with."""

    redis_timeout: float = Field(2, ge=0.1, le=60)
    """How long Redis has to answer before it counts as away."""

    workers: int = Field(1, ge=1, le=256)
    """How many processes serve the address together. More than one needs Redis. One of them serves metrics for
    Prometheus; all export them by OTLP."""

    share_port: bool = False
    """Let other processes listen on the same address (SO_REUSEPORT). Needs Redis."""

    idle_ttl: float = Field(3600, ge=1)
    """How long a session lives without being used, when its caller does not say."""

    max_life: float = Field(86_400, ge=1, le=366 * 86_400)
    """How long any session lives at most."""

    cleanup_interval: float = Field(300, ge=1)
    """How often tombstones and request records that are older than ten minutes are purged."""

    watch_history: int = Field(10_000, ge=100, le=1_000_000)
    """How many changes of one owner's sessions are kept for watchers that come back."""

    max_key_bytes: int = Field(256, ge=1, le=4096)
    """The longest key."""

    max_value_bytes: int = Field(64 * 1024, ge=1024, le=1024 * 1024)
    """The largest value, as JSON text."""

    max_session_bytes: int = Field(1024 * 1024, ge=1024, le=3 * 1024 * 1024)
    """The largest session: its keys and its values."""

    max_keys: int = Field(1024, ge=1, le=16_384)
    """How many keys a session has at most."""

    max_sessions_per_owner: int = Field(1_000_000, ge=1)
    """How many sessions an owner has at most."""

    @model_validator(mode="after")
    def _idle_within_life(self) -> Self:
        if self.idle_ttl > self.max_life:
            raise ValueError("VIRTLEASE_SESSION_IDLE_TTL is longer than VIRTLEASE_SESSION_MAX_LIFE")
        return self

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_one(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        if self.redis_url is not None and self.data_dir is not None:
            raise ValueError("VIRTLEASE_SESSION_REDIS_URL and VIRTLEASE_SESSION_DATA_DIR exclude each other")
        several = "VIRTLEASE_SESSION_WORKERS" if self.workers > 1 else "VIRTLEASE_SESSION_SHARE_PORT"
        if self.redis_url is None and (self.workers > 1 or self.share_port):
            store = "in memory" if self.data_dir is None else "in a folder that one process owns"
            raise ValueError(
                f"{several}: sessions are kept {store}, so that another process would not have them; "
                "set VIRTLEASE_SESSION_REDIS_URL to serve them from several"
            )
        return self

    @property
    def redis(self) -> Target | None:
        """Where Redis is, if sessions are kept there."""
        return parse(self.redis_url.get_secret_value()) if self.redis_url else None

    @property
    def store(self) -> str:
        """What the store is called that these settings make."""
        return "redis" if self.redis_url else "sqlite" if self.data_dir else "memory"

    @property
    def limits(self) -> Limits:
        """The limits that these settings make."""
        return Limits(
            key_bytes=self.max_key_bytes,
            value_bytes=self.max_value_bytes,
            session_bytes=self.max_session_bytes,
            keys=self.max_keys,
            sessions_per_owner=self.max_sessions_per_owner,
            max_life=round(self.max_life * 1000),
        )
