"""What a deployment offers of its services: tools, resources, completions and news."""

import secrets
from typing import Any

from virtlease_gateway.asgi.quick_calls import Call
from virtlease_gateway.backend import Backend, Backends
from virtlease_gateway.bindings import Bindings
from virtlease_gateway.confirm import Confirmation, Planner
from virtlease_gateway.confirm.ledger import Ledger
from virtlease_gateway.confirm.seal import Seal
from virtlease_gateway.contracts import Contract, Effect, RpcCompletion, RpcTool
from virtlease_gateway.held_leases import HeldLeases
from virtlease_gateway.policy import HypervisorPolicy, ToolPolicy
from virtlease_gateway.resources import Completer, Reading
from virtlease_gateway.services_file import Offered
from virtlease_gateway.sessions import Sessions
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.subscriptions import Feed
from virtlease_gateway.tools import RpcCall
from virtlease_gateway.tools.provider import ServedTool
from virtlease_gateway.tools.rpc_call import Kept
from virtlease_gateway.tools.wall import Wall


class Offer:
    """Gathers what the services' descriptors say, as far as the policy lets it."""

    def __init__(
        self, settings: GatewaySettings, backends: Backends, sessions: Sessions, *, read_only: bool, key: bytes | None
    ) -> None:
        """`key` is a secret by which one server knows what another one of the deployment has asked; one of its own when
        None."""
        self.key = key or secrets.token_bytes(32)
        self.tools: list[ServedTool] = []
        self.aliases: dict[str, str] = {}
        self.readings: list[Reading] = []
        self.feeds: list[Feed] = []
        self.scopes: set[str] = set()
        self._completions: list[tuple[RpcCompletion, Backend]] = []
        self._policy = ToolPolicy(settings, read_only=read_only)
        self._wall = Wall(HypervisorPolicy(settings.allow_hypervisors, settings.deny_hypervisors))
        self._confirmation = settings.confirmation
        self._backends = backends
        self.leases = HeldLeases(sessions, settings.leases_per_owner)
        self._kept = Kept(sessions, Bindings(sessions), self.leases)
        self._ledger, self._seal = Ledger(sessions), Seal(self.key)
        self.names: set[str] = set()

    @property
    def completer(self) -> Completer:
        """What completes the variables of the resources, and the arguments of prompts."""
        return Completer(self._completions, self._wall)

    def quick_calls(self) -> dict[str, Call]:
        """The tools, by name and alias, whose calls in the modern era need nothing but an answer."""
        plain = {tool.name: _quick(tool.call) for tool in self.tools if tool.call.is_quick}
        return plain | {alias: plain[name] for alias, name in self.aliases.items() if name in plain}

    def add(self, offered: Offered) -> None:
        """Adds what one service has."""
        contract, service, target = offered.contract, offered.service, offered.target
        kept = None if Contract.takes_sessions(service) else self._kept
        left_out = set()
        for tool in contract.tools(service):
            if self._policy.offers(tool):
                self._add_tool(tool, contract, target, kept)
            else:
                left_out.add(tool.method.full_name)
        for resource in contract.resources(service):
            if resource.method.full_name not in left_out:
                self.readings.append(Reading(resource, self._backends.of(resource.method, target), self._wall))
                self.scopes.add(resource.scope)
        for completion in contract.completions(service):
            if completion.method.full_name not in left_out:
                self._completions.append((completion, self._backends.of(completion.method, target)))
        for watch in contract.watches(service):
            self.feeds.append(Feed(watch, self._backends.of(watch.method, target), self._wall))

    def _add_tool(self, tool: RpcTool, contract: Contract, target: str, kept: Kept | None) -> None:
        backend = self._backends.of(tool.method, target)
        call = RpcCall(tool, backend, kept, self._wall, self.names, self._confirm(tool, target))
        self.tools.append(ServedTool.of(call, contract))
        if call.ends_lease:
            self.leases.release = call.give_back
        self.names |= {tool.name, *tool.aliases}
        self.aliases.update(dict.fromkeys(tool.aliases, tool.name))
        self.scopes.add(tool.scope)

    def _confirm(self, tool: RpcTool, target: str) -> Confirmation | None:
        if tool.effect is not Effect.DESTRUCTIVE or self._confirmation == "none":
            return None
        planner = Planner(tool, self._backends.of(tool.planned_by, target) if tool.planned_by else None)
        tokens = self._confirmation == "ask_or_token"
        return Confirmation(tool.name, planner, self._ledger, self._seal, tokens=tokens)


def _quick(call: RpcCall) -> Call:
    async def run(arguments: dict[str, Any]) -> dict[str, Any]:
        return (await call.run(arguments, bind=False)).to_wire()

    return run
