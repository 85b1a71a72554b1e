"""What the pool needs of a driver of hypervisors."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from virtlease_pool.model import HostFacts, HypervisorConfig, JobProgress, VmEvent, VmRef, VmSeen

T = TypeVar("T")


class Connection(Protocol):
    """An open connection to a hypervisor, on which one call runs at a time."""

    async def run(self, call: Callable[[Any], T]) -> T:
        """Runs a call in the connection's own thread and returns what it returned.

        The call is given the driver's own connection. Its errors are raised as domain errors; ConnectionBroke when
        the connection did not survive it. When the caller is cancelled the call runs on, and the connection stays
        busy until it has come back. One caller at a time; a connection that is not quiet makes it wait.
        """
        ...

    @property
    def fault(self) -> str:
        """Why it must not be given to anybody else, empty if it may: "broken", "busy" or "tainted"."""
        ...

    def taint(self) -> None:
        """It carries something of its user's that cannot be taken off, so that it is closed instead of reused."""
        ...

    async def quiet(self) -> None:
        """Returns when nothing runs on it, not even for a caller who has gone."""
        ...

    async def watch(self, tell: Callable[[VmEvent], None]) -> None:
        """Has `tell` called with what happens to VMs, for as long as it is open, on the event loop."""
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

    def work(self, handle: Any) -> None:
        """A call for `Connection.run`: something small that needs one of the hypervisor's workers."""
        ...

    def states(self, handle: Any) -> list[VmSeen]:
        """A call for `Connection.run`: all VMs with their states."""
        ...

    def progress(self, handle: Any, ref: VmRef) -> JobProgress | None:
        """A call for `Connection.run`: how far the long operation on a VM has come; None when that cannot be known."""
        ...

    def abort(self, handle: Any, ref: VmRef) -> None:
        """A call for `Connection.run`: asks for the end of the long operation on a VM."""
        ...
