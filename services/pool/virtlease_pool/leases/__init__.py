"""Leases: connections in the hands of clients, for as long as they say so."""

from virtlease_pool.leases.holder import Holder
from virtlease_pool.leases.lease import Lease
from virtlease_pool.leases.table import LeaseTable

__all__ = ["Holder", "Lease", "LeaseTable"]
