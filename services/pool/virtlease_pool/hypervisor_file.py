"""The file that lists the hypervisors."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath
from pydantic.types import DirectoryPath

from virtlease_chassis.settings import SettingsError
from virtlease_chassis.watched_file import parse_yaml
from virtlease_pool.model import HypervisorConfig

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def check_name(value: str) -> str:
    """A hypervisor's name can stand before the slash of a vm_id and be a label. Raises ValueError."""
    if not NAME.fullmatch(value):
        raise ValueError("1 to 63 characters of a-z 0-9 . _ -, a letter or digit at each end")
    return value


def check_uri(value: str) -> str:
    """A libvirt URI, without a password in it. Raises ValueError."""
    parts = urlsplit(value)
    if not parts.scheme or "://" not in value:
        raise ValueError("a libvirt URI looks like qemu+tls://host/system or test:///default")
    if parts.password:
        raise ValueError("a password does not belong in the URI; use auth_file")
    return value


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, AfterValidator(check_name)]
    uri: Annotated[str, AfterValidator(check_uri)]
    max_size: int | None = Field(None, ge=1, le=1000)
    max_in_flight: int | None = Field(None, ge=1, le=1000)
    auth_file: FilePath | None = None
    pki_path: DirectoryPath | None = None
    labels: dict[str, str] = {}


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    hypervisors: list[_Entry] = Field(min_length=1)


def read_hypervisors(path: Path, default_max_size: int) -> list[HypervisorConfig]:
    """Parses the file. Raises SettingsError with all that is wrong."""
    entries = parse_yaml(path, _Document).hypervisors
    faults = []
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        if entry.name in seen:
            faults.append(f"{path}: hypervisors.{number}: the name {entry.name!r} stands there twice")
        seen.add(entry.name)
    if faults:
        raise SettingsError(faults)
    return [_config(entry, default_max_size) for entry in entries]


def _config(entry: _Entry, default_max_size: int) -> HypervisorConfig:
    max_size = entry.max_size or default_max_size
    return HypervisorConfig(
        name=entry.name,
        uri=entry.uri,
        max_size=max_size,
        max_in_flight=entry.max_in_flight or max_size,
        auth_file=entry.auth_file,
        pki_path=entry.pki_path,
        labels=entry.labels,
    )
