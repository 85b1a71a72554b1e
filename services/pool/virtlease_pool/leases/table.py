"""All leases of this replica."""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Iterator

from virtlease_chassis.clock import Clock
from virtlease_chassis.errors import InvalidArgument
from virtlease_pool.core import Loan
from virtlease_pool.errors import LeaseExpired, LeaseLost, LeaseNotFound, LeaseReleased
from virtlease_pool.leases.lease import Lease, Terms
from virtlease_pool.leases.lease_id import LeaseId, new_incarnation
from virtlease_pool.ports import Connection

_MOST_REMEMBERED = 100_000


class LeaseTable:
    """Grants leases, finds them for their owners, and ends those that nobody renews.

    Every lease has a timer. It is set when the lease is granted and, when it goes off, again for as long as the lease
    was prolonged since: renewing costs a write to one field.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._incarnation = new_incarnation()
        self._leases: dict[str, Lease] = {}
        self._holders: dict[str, set[Lease]] = {}
        self._over: OrderedDict[str, tuple[str, Exception]] = OrderedDict()

    def grant(self, terms: Terms, loan: Loan[Connection]) -> Lease:
        """Makes a lease of a loan."""
        lease_id = str(LeaseId.mint(self._incarnation))
        lease = Lease(lease_id, _ref(lease_id), terms, loan, self._clock.wall())
        self._leases[lease_id] = lease
        self._holders.setdefault(terms.holder_id, set()).add(lease)
        self._set_timer(lease)
        return lease

    def find(self, owner: str, lease_id: str) -> Lease:
        """The owner's lease. Raises LeaseNotFound, LeaseLost, or what the lease ended with."""
        lease = self._leases.get(lease_id)
        if lease is not None and lease.terms.owner == owner:
            return lease
        former_owner, error = self._over.get(lease_id, ("", None))
        if error is not None and former_owner == owner:
            raise error.with_traceback(None)  # else it grows with every call that is told
        if LeaseId.parse(lease_id).incarnation != self._incarnation:
            raise LeaseLost
        raise LeaseNotFound

    def held_by(self, owner: str, holder_id: str) -> list[Lease]:
        """The leases of a holder. Raises LeaseNotFound when there are none."""
        leases = [lease for lease in self._holders.get(holder_id, ()) if lease.terms.owner == owner]
        if not leases:
            raise LeaseNotFound
        return leases

    def release(self, owner: str, lease_id: str, *, discard: bool) -> None:
        """Ends a lease at its owner's wish. Raises as `find` does."""
        lease = self.find(owner, lease_id)
        # A call that still runs would be the next holder's; what it does to the connection cannot be known.
        reason = "discarded" if discard or lease.in_use else ""
        self._end(lease, LeaseReleased(lease.ref), reason)

    def end_broken(self, lease: Lease) -> None:
        """Ends a lease whose connection broke."""
        if lease.over is None:
            self._end(lease, LeaseLost(), "broken")

    def release_all(self) -> None:
        """Ends all leases: the service is stopping."""
        for lease in list(self._leases.values()):
            self._end(lease, LeaseLost(), "drained")

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def __len__(self) -> int:
        return len(self._leases)

    def _set_timer(self, lease: Lease) -> None:
        asyncio.get_running_loop().call_at(lease.deadline, self._look_at, lease)

    def _look_at(self, lease: Lease) -> None:
        if lease.over is not None:
            return
        if lease.in_use:
            lease.touch()
        if lease.seconds_left > 0:
            self._set_timer(lease)
        else:
            self._end(lease, LeaseExpired(lease.ref), "expired")

    def _end(self, lease: Lease, error: Exception, discard: str) -> None:
        del self._leases[lease.lease_id]
        holder = self._holders[lease.terms.holder_id]
        holder.discard(lease)
        if not holder:
            del self._holders[lease.terms.holder_id]
        self._over[lease.lease_id] = (lease.terms.owner, error)
        if len(self._over) > _MOST_REMEMBERED:
            self._over.popitem(last=False)
        lease.end(error, discard)


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
