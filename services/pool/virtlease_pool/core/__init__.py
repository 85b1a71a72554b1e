"""A connection pool that knows nothing of what it pools."""

from virtlease_pool.core.pool import Connector, Loan, Policy, Pool, Stats

__all__ = ["Connector", "Loan", "Policy", "Pool", "Stats"]
