"""The file that says who may call: tokens by their SHA-256, client certificates by a name in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from virtlease_chassis.identity.principal import Principal, valid_name
from virtlease_chassis.settings import SettingsError
from virtlease_chassis.watched_file import parse_yaml


def _name(value: str) -> str:
    if not valid_name(value):
        raise ValueError("1 to 256 printable characters without a slash")
    return value


def _scope(value: str) -> str:
    if not re.fullmatch(r"\*|[a-z_]+(:([a-z_]+|\*))?", value):
        raise ValueError("a scope looks like vm:read, vm:*, act_as or *")
    return value


Name = Annotated[str, AfterValidator(_name)]
Scope = Annotated[str, AfterValidator(_scope)]


class Identity(BaseModel):
    """One entry: how the caller shows who they are, and who that is."""

    model_config = ConfigDict(extra="forbid")

    token_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    certificate: str | None = Field(None, min_length=1)
    tenant: Name
    owner: Name
    scopes: list[Scope]

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if (self.token_sha256 is None) == (self.certificate is None):
            raise ValueError("give token_sha256 or certificate, one of the two")
        return self


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identities: list[Identity]


@dataclass(frozen=True, slots=True)
class Identities:
    """Principals by the SHA-256 of their token and by the name in their certificate."""

    by_token: Mapping[str, Principal]
    by_certificate: Mapping[str, Principal]


def read_identities(path: Path) -> Identities:
    """Parses the file. Raises SettingsError with all that is wrong."""
    by_token: dict[str, Principal] = {}
    by_certificate: dict[str, Principal] = {}
    faults = []
    for number, entry in enumerate(parse_yaml(path, _Document).identities):
        table, key = (by_token, entry.token_sha256) if entry.token_sha256 else (by_certificate, entry.certificate or "")
        if key in table:
            faults.append(f"{path}: identities.{number}: the same token or certificate stands there twice")
        table[key] = Principal(entry.tenant, entry.owner, frozenset(entry.scopes))
    if faults:
        raise SettingsError(faults)
    return Identities(by_token, by_certificate)
