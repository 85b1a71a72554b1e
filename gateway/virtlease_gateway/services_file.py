"""The services that the gateway offers: virtlease's own, and those of a file."""

from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import ServiceDescriptor
from pydantic import BaseModel, ConfigDict, FilePath

from virtlease_chassis.settings import SettingsError
from virtlease_chassis.watched_file import parse_yaml
from virtlease_gateway.contracts import Contract

SESSION_SERVICE = "virtlease.session.v1.SessionService"
POOL_SERVICES = ("virtlease.pool.v1.VmService", "virtlease.pool.v1.PoolService")


@dataclass(frozen=True, slots=True)
class Offered:
    """A service, its contract, and where it is."""

    contract: Contract
    service: ServiceDescriptor
    target: str


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    target: str
    descriptors: FilePath


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    services: list[_Entry]


def own_services(session_target: str, pool_target: str) -> list[Offered]:
    """virtlease's own."""
    contract = Contract.own()
    targets = {SESSION_SERVICE: session_target, **dict.fromkeys(POOL_SERVICES, pool_target)}
    return [Offered(contract, contract.service(name), target) for name, target in targets.items()]


def read_services(path: Path) -> list[Offered]:
    """Those of a file: `services: [{name, target, descriptors}]`. Raises SettingsError with all that is wrong."""
    offered: list[Offered] = []
    faults: list[str] = []
    for entry in parse_yaml(path, _Document).services:
        try:
            contract = Contract.read(entry.descriptors)
            offered.append(Offered(contract, contract.service(entry.name), entry.target))
        except SettingsError as error:
            faults += error.faults
        except KeyError:
            faults.append(f"{path}: {entry.descriptors} has no service {entry.name!r}")
    if faults:
        raise SettingsError(faults)
    return offered
