"""A connection pool that knows nothing of what it pools."""

from virtlease_pool.core.loan import Connector, Loan
from virtlease_pool.core.maintenance import maintain
from virtlease_pool.core.policy import Mode, Policy, Stats
from virtlease_pool.core.pool import Pool

__all__ = ["Connector", "Loan", "Mode", "Policy", "Pool", "Stats", "maintain"]
