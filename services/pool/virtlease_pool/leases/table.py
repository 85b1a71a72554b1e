"""All leases of this replica."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import InvalidArgument
from virtlease_pool.core import Loan
from virtlease_pool.errors import LeaseExpired, LeaseKilled, LeaseLost, LeaseNotFound, LeaseReleased
from virtlease_pool.leases.expiry import Expiry
from virtlease_pool.leases.holder import Holder
from virtlease_pool.leases.lease import Lease, Terms
from virtlease_pool.leases.lease_id import LeaseId, Mint
from virtlease_pool.ports import Connection

_MOST_REMEMBERED = 100_000
Ended = Callable[[Lease, Exception], None]


class LeaseTable:
    """Grants leases, finds them for their owners, and ends those that nobody keeps alive."""

    def __init__(self, clock: Clock, replica: str = "") -> None:
        self._clock = clock
        self._mint = Mint(replica)
        self._leases: dict[str, Lease] = {}
        self._refs: dict[str, Lease] = {}
        self._holders: dict[tuple[str, str], Holder] = {}
        self._over: OrderedDict[str, tuple[str, Exception]] = OrderedDict()
        self._expiry = Expiry(lambda lease: self._end(lease, LeaseExpired(lease.ref), "expired"))
        self.on_grant: list[Callable[[Lease], None]] = []
        self.on_end: list[Ended] = []
        """Called with each lease that has ended, and with what its holder is told."""

    def holder(self, owner: str, holder_id: str, ttl: float, purpose: str = "") -> Holder:
        """The owner's holder of this id; a new one if there is none."""
        holder = self._holders.get((owner, holder_id))
        if holder is None:
            holder = self._holders[owner, holder_id] = Holder(owner, holder_id, ttl, purpose)
        return holder

    def grant(self, terms: Terms, loan: Loan[Connection], holder: Holder | None = None) -> Lease:
        """Makes a lease of a loan. It belongs to the holder of its terms, unless another one is given."""
        lease_id = self._mint.lease_id()
        holder = holder or self.holder(terms.owner, terms.holder_id, terms.ttl)
        lease = Lease(lease_id, _ref(lease_id), terms, loan, holder, self._clock.wall())
        loan.borrower = f"{terms.owner} {lease.ref} trace {terms.trace_id or 'none'}"
        self._leases[lease_id] = self._refs[lease.ref] = lease
        holder.leases.add(lease)
        self._expiry.file(lease)
        for told in self.on_grant:
            told(lease)
        return lease

    def find(self, owner: str, lease_id: str) -> Lease:
        """The owner's lease. Raises LeaseNotFound, LeaseLost, or what the lease ended with."""
        lease = self._leases.get(lease_id)
        if lease is not None and lease.terms.owner == owner:
            if lease.seconds_left > 0 or lease.in_use:
                return lease
            self._end(lease, LeaseExpired(lease.ref), "expired")  # the sweep is a moment late
        former_owner, error = self._over.get(lease_id, ("", None))
        if error is not None and former_owner == owner:
            raise error.with_traceback(None)  # else it grows with every call that is told
        if LeaseId.parse(lease_id).incarnation != self._mint.incarnation:
            raise LeaseLost
        raise LeaseNotFound

    def held_by(self, owner: str, holder_id: str) -> list[Lease]:
        """The leases of a holder. Raises LeaseNotFound when there are none."""
        holder = self._holders.get((owner, holder_id))
        leases = [lease for lease in holder.leases if lease.seconds_left > 0 or lease.in_use] if holder else []
        if not leases:
            raise LeaseNotFound
        return leases

    def by_ref(self, ref: str) -> Lease:
        """A lease by its public name. Raises LeaseNotFound."""
        lease = self._refs.get(ref)
        if lease is None:
            raise LeaseNotFound
        return lease

    def release(self, owner: str, lease_id: str, *, discard: bool) -> None:
        """Ends a lease at its owner's wish. Raises as `find` does."""
        lease = self.find(owner, lease_id)
        # A call that still runs would be the next holder's; what it does to the connection cannot be known.
        reason = "discarded" if discard or lease.in_use else ""
        self._end(lease, LeaseReleased(lease.ref), reason)

    def kill(self, ref: str) -> Lease:
        """Ends a lease of anybody's, by its public name. Raises LeaseNotFound."""
        lease = self.by_ref(ref)
        self._end(lease, LeaseKilled(ref), "killed")
        return lease

    def end_broken(self, lease: Lease) -> None:
        """Ends a lease whose connection broke."""
        if lease.over is None:
            self._end(lease, LeaseLost(), "broken")

    def release_all(self) -> None:
        """Ends all leases: the service is stopping."""
        for lease in list(self._leases.values()):
            self._end(lease, LeaseLost(), "drained")

    def forget(self, holder: Holder) -> None:
        """Drops a holder of whom nothing is left."""
        if holder.is_over:
            self._holders.pop((holder.owner, holder.holder_id), None)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def __len__(self) -> int:
        return len(self._leases)

    def _end(self, lease: Lease, error: Exception, discard: str) -> None:
        del self._leases[lease.lease_id]
        del self._refs[lease.ref]
        self._expiry.drop(lease)
        lease.holder.leases.discard(lease)
        self._over[lease.lease_id] = (lease.terms.owner, error)
        if len(self._over) > _MOST_REMEMBERED:
            self._over.popitem(last=False)
        lease.end(error, discard)
        if lease.holder.listener is not None and not isinstance(error, LeaseReleased):
            lease.holder.listener.lost(lease, error)
        self.forget(lease.holder)
        for told in self.on_end:
            told(lease, error)


def new_holder_id() -> str:
    """The secret of a new holder."""
    return secrets.token_urlsafe(24)


def check_holder_id(holder_id: str) -> None:
    """Raises InvalidArgument unless it can be one of ours."""
    if not 16 <= len(holder_id) <= 128:
        raise InvalidArgument("holder_id", "16 to 128 characters, as a former answer had it")


def _ref(lease_id: str) -> str:
    """The public name of a lease: it tells nothing of the secret."""
    return "lease-" + hashlib.blake2b(lease_id.encode(), digest_size=6).hexdigest()
