"""What the pool needs of a driver of hypervisors."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from virtlease_pool.model import HostFacts, HypervisorConfig

T = TypeVar("T")


class Connection(Protocol):
    """An open connection to a hypervisor, on which one call runs at a time."""

    async def run(self, call: Callable[[Any], T]) -> T:
        """Runs a call in the connection's own thread and returns what it returned.

        The call is given the driver's own connection. Its errors are raised as domain errors; ConnectionBroke when
        the connection did not survive it. When the caller is cancelled the call runs on, and the connection stays
        busy until it has come back. One caller at a time.
        """
        ...

    @property
    def usable(self) -> bool:
        """Whether another call can be run: it is open, nothing runs on it, and no call has shown it to be broken."""
        ...

    async def alive(self) -> bool:
        """Whether the hypervisor answers on it."""
        ...

    async def close(self) -> None:
        """Closes it, once whatever runs on it has come back. Raises nothing."""
        ...


class Driver(Protocol):
    """Opens connections."""

    async def open(self, config: HypervisorConfig) -> Connection:
        """Opens a connection. Raises HypervisorUnavailable, or PermissionDenied when it is not let in."""
        ...

    def facts(self, handle: Any) -> HostFacts:
        """A call for `Connection.run`: what the hypervisor says of itself."""
        ...
