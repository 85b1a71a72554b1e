"""From where the RPC that is being handled was called."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

call_peer: ContextVar[str] = ContextVar("call_peer", default="")
"""The network address of the caller, as gRPC spells it."""

call_metadata: ContextVar[Mapping[str, str | bytes]] = ContextVar("call_metadata", default=MappingProxyType({}))
"""What the call carries beside its message, keys in lower case."""
