"""Sessions with a lifetime and pooled libvirt connections, for Python.

Everything is loaded when it is first asked for: importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtlease import aio as aio
    from virtlease.client.errors import *  # noqa: F403
    from virtlease.client.pool.pool import Connection as Connection
    from virtlease.client.pool.pool import ConnectionPool as ConnectionPool
    from virtlease.client.sessions.manager import Session as Session
    from virtlease.client.sessions.manager import SessionManager as SessionManager
    from virtlease.client.stateful.tool import last_session as last_session
    from virtlease.client.stateful.tool import stateful_tool as stateful_tool
    from virtlease.client.target import Target as Target

_HOMES = {
    "Connection": "virtlease.client.pool.pool",
    "ConnectionPool": "virtlease.client.pool.pool",
    "last_session": "virtlease.client.stateful.tool",
    "stateful_tool": "virtlease.client.stateful.tool",
    "Session": "virtlease.client.sessions.manager",
    "SessionManager": "virtlease.client.sessions.manager",
    "Target": "virtlease.client.target",
}
_ERRORS = (
    "CallFailed",
    "Closed",
    "InvalidRequest",
    "LeaseLost",
    "LimitReached",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotJson",
    "NotSupported",
    "OutcomeUnknown",
    "ServerMissing",
    "ServiceUnavailable",
    "SessionConflict",
    "SessionEnded",
    "SessionExpired",
    "SessionNotFound",
    "StaleValue",
    "TimedOut",
    "VirtleaseError",
    "WrongState",
)
_HOMES |= dict.fromkeys(_ERRORS, "virtlease.client.errors")

__all__ = sorted([*_HOMES, "aio"])


def __getattr__(name: str) -> Any:
    if name == "aio":
        return import_module("virtlease.aio")
    if name not in _HOMES:
        raise AttributeError(f"module 'virtlease' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return list(__all__)
