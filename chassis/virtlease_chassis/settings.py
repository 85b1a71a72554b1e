"""Settings from the environment: parsed once, typed, frozen; one message that lists all that is wrong."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar

from pydantic import Field, FilePath, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from virtlease_chassis.address import Address, AddressSetting

PREFIX = "VIRTLEASE_"

# Every process accepts the settings of the others and of their clients, so that one environment can serve them all;
# each checks its own.
PROCESS_PREFIXES = ("VIRTLEASE_SESSION_", "VIRTLEASE_POOL_", "VIRTLEASE_GATEWAY_", "VIRTLEASE_UP_", "VIRTLEASE_CLIENT_")


class SettingsError(Exception):
    """Raised when the environment cannot be started with; `faults` says everything that is wrong with it."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("wrong settings:\n" + "\n".join(f"  {fault}" for fault in faults))
        self.faults = tuple(faults)


class Settings(BaseSettings):
    """A group of settings under one prefix. Subclasses set `model_config` with their `env_prefix`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True, use_attribute_docstrings=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only arguments and the environment; no dotenv files, no secrets directories."""
        return init_settings, env_settings

    @classmethod
    def env_name(cls, field: str) -> str:
        """The environment variable of a field."""
        return f"{cls.model_config.get('env_prefix', '')}{field}".upper()


class ProcessSettings(Settings):
    """What every process is told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is logged, to standard error."""

    log_format: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere."""

    metrics_address: AddressSetting | None = None
    """Where Prometheus scrapes. 127.0.0.1:9464 when absent, as long as that is free; port 0 switches it off."""

    identity_file: FilePath | None = None
    """Who may call, by token or certificate. Without it everybody who can connect is `default/anonymous`."""

    tls_certificate: FilePath | None = None
    """With it, the service speaks TLS."""

    tls_key: FilePath | None = None
    """The key of the certificate."""

    tls_client_ca: FilePath | None = None
    """With it, clients must show a certificate that this authority signed."""

    insecure: bool = False
    """Serve beyond loopback although there are no identities."""

    drain_timeout: float = Field(30, ge=0, le=3600)
    """Seconds that calls under way are given to finish after SIGTERM."""

    max_message_bytes: int = Field(4 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024)
    """The largest gRPC message."""

    max_connection_age: float = Field(1800, ge=1)
    """Seconds after which a client connection is asked to move, so that load spreads over new replicas."""

    DEFAULT_METRICS_ADDRESS: ClassVar[Address] = Address(host="127.0.0.1", port=9464)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("VIRTLEASE_TLS_CERTIFICATE and VIRTLEASE_TLS_KEY go together")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("VIRTLEASE_TLS_CLIENT_CA needs VIRTLEASE_TLS_CERTIFICATE")
        return self

    def check_exposed(self, address: Address, setting: str) -> None:
        """Refuses an address that others can reach when nobody is asked who they are. Raises SettingsError."""
        if not address.is_local and self.identity_file is None and not self.insecure:
            raise SettingsError(
                [
                    f"{setting}: {address} can be reached from other machines, and there are no identities; "
                    "set VIRTLEASE_IDENTITY_FILE, or VIRTLEASE_INSECURE=true to let everybody in"
                ]
            )


S = TypeVar("S", bound=Settings)


def load(*groups: type[Settings]) -> "Loaded":
    """Reads the groups from the environment. Raises SettingsError with every fault of every group at once."""
    faults = list(_unknown(groups))
    loaded: dict[type[Settings], Settings] = {}
    for group in groups:
        try:
            loaded[group] = group()
        except ValidationError as error:
            faults += _describe(group, error)
    if faults:
        raise SettingsError(faults)
    return Loaded(loaded)


class Loaded:
    """The groups that were read, by their class."""

    def __init__(self, groups: Mapping[type[Settings], Settings]) -> None:
        self._groups = groups

    def __getitem__(self, group: type[S]) -> S:
        found = self._groups[group]
        assert isinstance(found, group)
        return found


def _unknown(groups: Sequence[type[Settings]]) -> Iterator[str]:
    known = {group.env_name(field) for group in groups for field in group.model_fields}
    own = {str(group.model_config.get("env_prefix", "")) for group in groups}
    foreign = tuple(prefix for prefix in PROCESS_PREFIXES if prefix not in own)
    for name in sorted(os.environ):
        if not name.startswith(PREFIX) or name in known or name.startswith(foreign):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        yield f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _describe(group: type[Settings], error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        message = fault["msg"].removeprefix("Value error, ")
        if fault["loc"]:
            given = fault["input"]
            field = str(fault["loc"][0])
            secret = "Secret" in str(group.model_fields[field].annotation)
            shown = f" (is {str(given)!r})" if isinstance(given, str | int | float | Path) and not secret else ""
            yield f"{group.env_name(field)}: {message}{shown}"
        else:
            yield message
