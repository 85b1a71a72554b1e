"""The one in whose name a call is made."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlencode

from virtlease_chassis.errors import InvalidArgument, PermissionDenied

ACT_AS = "act_as"
EVERYTHING = "*"
PRINCIPAL_HEADER = "x-virtlease-principal"


@dataclass(frozen=True, slots=True)
class Principal:
    """An owner in a tenant, and their scopes: `vm:*` stands for all of `vm`, `*` for every scope but `act_as`."""

    tenant: str
    owner: str
    scopes: frozenset[str]
    name: str = field(init=False)
    """`tenant/owner`: unique, since neither part has a slash."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.tenant}/{self.owner}")

    def has(self, scope: str) -> bool:
        """Whether the scope is theirs."""
        if scope in self.scopes:
            return True
        return scope != ACT_AS and (EVERYTHING in self.scopes or f"{scope.partition(':')[0]}:*" in self.scopes)

    def to_header(self) -> str:
        """The value of `x-virtlease-principal` by which a trusted caller passes this principal on."""
        return urlencode({"tenant": self.tenant, "owner": self.owner, "scopes": " ".join(sorted(self.scopes))})

    @classmethod
    def from_header(cls, value: str) -> Self:
        """Reads `to_header`'s value. Raises InvalidArgument."""
        try:
            fields = parse_qs(value, strict_parsing=True, keep_blank_values=True, max_num_fields=3)
            (tenant,), (owner,) = fields["tenant"], fields["owner"]
            (scopes,) = fields.get("scopes", [EVERYTHING])
        except (KeyError, ValueError) as error:
            raise InvalidArgument(PRINCIPAL_HEADER, "expected tenant=..&owner=..&scopes=..") from error
        if not valid_name(tenant) or not valid_name(owner):
            raise InvalidArgument(PRINCIPAL_HEADER, "tenant and owner are 1 to 256 characters without a slash")
        return cls(tenant, owner, frozenset(scopes.split()) - {ACT_AS})


def valid_name(name: str) -> bool:
    """Whether it can be a tenant or an owner."""
    return 0 < len(name) <= 256 and "/" not in name and name.isprintable()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is behind one call.

    `principal` is the one in whose name it is made, `agent` the one who made it: another one only when that one may
    act for others. `authenticated` says that the caller has shown who they are, `embedded` that they are on this
    machine's Unix socket.
    """

    principal: Principal
    agent: Principal
    authenticated: bool
    embedded: bool = False

    @property
    def trusted(self) -> bool:
        """Whether they may do what is the system's: act for others, or there is nobody to tell apart."""
        return self.agent.has(ACT_AS) or not self.authenticated

    def require(self, scope: str) -> None:
        """Raises PermissionDenied unless the principal has the scope."""
        if not self.principal.has(scope):
            raise PermissionDenied(f"{self.principal.name} lacks the scope {scope}", metadata={"scope": scope})

    def acting_as(self, header: str) -> "Caller":
        """This caller in the name of the principal that the header names. Raises PermissionDenied."""
        if not self.agent.has(ACT_AS):
            raise PermissionDenied(f"acting for others needs the scope {ACT_AS}", metadata={"scope": ACT_AS})
        return Caller(Principal.from_header(header), self.agent, self.authenticated, self.embedded)


current_caller: ContextVar[Caller] = ContextVar("current_caller")
"""The caller of the RPC that is being handled."""

reauthenticate: ContextVar[Callable[[], Caller]] = ContextVar("reauthenticate")
"""For long streams: finds out anew who the caller is. Raises Unauthenticated when nobody knows them any more."""
