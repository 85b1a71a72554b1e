"""Leasing a connection: from the line of the pool into the table of leases."""

from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.rpc.calls import ShuttingDown
from virtlease_chassis.rpc.deadline import time_left
from virtlease_pool.hypervisors import Hypervisors
from virtlease_pool.leases import Holder, Lease, LeaseTable
from virtlease_pool.leases.lease import Terms

SHORTEST_TTL = 3.0
LONGEST_TTL = 300.0


class Acquire:
    """The use case of AcquireLease. `timeout` in seconds is the longest wait."""

    def __init__(self, hypervisors: Hypervisors, leases: LeaseTable, timeout: float) -> None:
        self._hypervisors = hypervisors
        self._leases = leases
        self._timeout = timeout
        self.draining = False
        """No new leases are granted: the service is about to stop."""

    @property
    def longest_wait(self) -> float:
        """In seconds."""
        return self._timeout

    async def lease(self, terms: Terms, wait: float | None, holder: Holder | None = None) -> Lease:
        """Waits for a connection and makes a lease of it. Raises what the pool raises, and HypervisorNotFound."""
        check_ttl(terms.ttl)
        if self.draining:
            raise ShuttingDown
        hypervisor = self._hypervisors[terms.hypervisor]
        loan = await hypervisor.pool.acquire(self.patience(wait), terms.owner)
        return self._leases.grant(terms, loan, holder)

    def patience(self, wait: float | None) -> float:
        """How long to wait: what the caller wishes, but no longer than they are there or than the service allows."""
        most = self._timeout if wait is None else min(wait, self._timeout)
        return time_left(most)


def check_ttl(ttl: float, field: str = "ttl") -> None:
    """Raises InvalidArgument unless a lease can live this long."""
    if not SHORTEST_TTL <= ttl <= LONGEST_TTL:
        raise InvalidArgument(field, f"between {SHORTEST_TTL:g} and {LONGEST_TTL:g} seconds")
