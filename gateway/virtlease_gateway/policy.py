"""What this deployment offers: which tools, and which hypervisors they reach."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from virtlease_gateway.contracts import Effect, RpcTool
from virtlease_gateway.settings import GatewaySettings


def is_read_only(settings: GatewaySettings, *, asks_who: bool) -> bool:
    """Whether no tool that writes is offered: as it is set, else where strangers can reach it and nobody is asked."""
    if settings.read_only is not None:
        return settings.read_only
    return not asks_who and not settings.address.is_local


class ToolPolicy:
    """Chooses tools by toolset, effect and name. What is denied is denied, whatever allows it."""

    def __init__(self, settings: GatewaySettings, *, read_only: bool) -> None:
        self._settings = settings
        self._read_only = read_only

    def offers(self, tool: RpcTool) -> bool:
        """Whether a tool is offered."""
        if tool.effect is Effect.DESTRUCTIVE and self._settings.confirmation == "refuse":
            return False
        if self._read_only and tool.effect is not Effect.READ:
            return False
        names = (tool.name, *tool.aliases)
        if _any_matches(names, self._settings.deny_tools):
            return False
        if self._settings.allow_tools and not _any_matches(names, self._settings.allow_tools):
            return False
        return not tool.toolset or tool.toolset in self._settings.toolsets

    def offers_read(self, toolset: str) -> bool:
        """Whether what is no tool of its own, but a resource of a toolset, is offered."""
        return not toolset or toolset in self._settings.toolsets


class HypervisorPolicy:
    """Says which hypervisors may be reached. Patterns are those of a shell: `test-*`."""

    def __init__(self, allow: Sequence[str], deny: Sequence[str]) -> None:
        self._allow = allow
        self._deny = deny

    @property
    def restricts(self) -> bool:
        """Whether there are any that may not be reached."""
        return bool(self._allow or self._deny)

    def permits(self, hypervisor: str) -> bool:
        """Whether this one may be reached."""
        names = (hypervisor,)
        return not _any_matches(names, self._deny) and (not self._allow or _any_matches(names, self._allow))


def _any_matches(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
