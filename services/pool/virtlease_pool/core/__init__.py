"""A connection pool that knows nothing of what it pools."""

from virtlease_pool.core.loan import Connector, Loan
from virtlease_pool.core.maintenance import maintain
from virtlease_pool.core.observer import Observer
from virtlease_pool.core.policy import Mode, Policy, Stats
from virtlease_pool.core.pool import Pool

__all__ = ["Connector", "Loan", "Mode", "Observer", "Policy", "Pool", "Stats", "maintain"]
