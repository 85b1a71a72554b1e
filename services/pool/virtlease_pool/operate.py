"""What operators do: see who holds what, end leases, pause, drain and replace connections."""

from collections.abc import Callable

from virtlease.pool.v1 import operate_pb2 as pb
from virtlease_chassis import page_token
from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import InvalidArgument
from virtlease_chassis.identity import Caller
from virtlease_chassis.wire import timestamp
from virtlease_pool import convert
from virtlease_pool.hypervisors import Hypervisor, Hypervisors
from virtlease_pool.leases import Lease, LeaseTable

OPERATE = "pool:operate"
_DEFAULT_PAGE = 50
_LARGEST_PAGE = 1000


class Operate:
    """The use cases of the operators' RPCs."""

    def __init__(self, hypervisors: Hypervisors, leases: LeaseTable, clock: Clock, replica: str) -> None:
        self._hypervisors = hypervisors
        self._leases = leases
        self._clock = clock
        self._replica = replica

    def list_leases(self, request: pb.ListLeasesRequest, caller: Caller) -> pb.ListLeasesResponse:
        """A page of leases, the oldest first: all of them for operators, their own for others."""
        if not 0 <= request.page_size <= _LARGEST_PAGE:
            raise InvalidArgument("page_size", f"between 0 and {_LARGEST_PAGE}")
        if request.hypervisor:
            _ = self._hypervisors.leased(request.hypervisor)
        owner = "" if caller.principal.has(OPERATE) else caller.principal.name
        selection = [request.hypervisor, owner]
        after = page_token.decode(request.page_token, selection)
        found = sorted(
            (
                lease
                for lease in self._leases
                if request.hypervisor in ("", lease.terms.hypervisor) and owner in ("", lease.terms.owner)
            ),
            key=_order,
        )
        rest = [lease for lease in found if _order(lease) > after]
        size = request.page_size or _DEFAULT_PAGE
        page = rest[:size]
        now = self._clock.wall()
        return pb.ListLeasesResponse(
            leases=[convert.to_lease_info(lease, now, self._replica) for lease in page],
            next_page_token=page_token.encode(_order(page[-1]), selection) if len(rest) > size else "",
            server_time=timestamp(now),
        )

    def kill_lease(self, request: pb.KillLeaseRequest) -> pb.KillLeaseResponse:
        """Ends a lease of anybody's. Raises LeaseNotFound."""
        if not request.lease_ref:
            raise InvalidArgument("lease_ref", "is required")
        info = convert.to_lease_info(self._leases.by_ref(request.lease_ref), self._clock.wall(), self._replica)
        self._leases.kill(request.lease_ref)
        return pb.KillLeaseResponse(lease=info)

    def change(self, name: str, act: Callable[[Hypervisor], None]) -> Hypervisor:
        """Acts on the pool of a hypervisor. Raises HypervisorNotFound."""
        if not name:
            raise InvalidArgument("hypervisor", "is required")
        hypervisor = self._hypervisors[name]
        act(hypervisor)
        return hypervisor


def _order(lease: Lease) -> str:
    return f"{lease.acquired_at:016d} {lease.ref}"
