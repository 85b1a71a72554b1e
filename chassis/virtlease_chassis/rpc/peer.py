"""From where the RPC that is being handled was called."""

from contextvars import ContextVar

call_peer: ContextVar[str] = ContextVar("call_peer", default="")
"""The network address of the caller, as gRPC spells it."""
