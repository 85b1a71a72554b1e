"""What operators do: see who holds what, end leases, pause, drain and replace connections."""

from collections.abc import Callable

from virtlease.pool.v1 import lease_pb2
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
        selection = _selection(request, caller)
        _, owner = selection
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


def merge_pages(
    request: pb.ListLeasesRequest, pages: list[pb.ListLeasesResponse], caller: Caller
) -> pb.ListLeasesResponse:
    """One page of the pages of several replicas for the same request."""
    found = sorted((lease for page in pages for lease in page.leases), key=_order_told)
    page = found[: request.page_size or _DEFAULT_PAGE]
    more = len(found) > len(page) or any(each.next_page_token for each in pages)
    return pb.ListLeasesResponse(
        leases=page,
        next_page_token=page_token.encode(_order_told(page[-1]), _selection(request, caller)) if more else "",
        server_time=pages[0].server_time,
    )


def _selection(request: pb.ListLeasesRequest, caller: Caller) -> list[str]:
    """The hypervisor, and whose leases; empty for all."""
    return [request.hypervisor, "" if caller.principal.has(OPERATE) else caller.principal.name]


def _order_told(lease: lease_pb2.LeaseInfo) -> str:
    return f"{lease.acquire_time.ToMilliseconds():016d} {lease.lease_ref}"


def _order(lease: Lease) -> str:
    return f"{lease.acquired_at:016d} {lease.ref}"
