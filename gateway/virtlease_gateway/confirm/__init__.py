"""No call that can lose data is made before somebody has said yes to exactly that call."""

from virtlease_gateway.confirm.confirmation import Asked, Confirmation
from virtlease_gateway.confirm.plan import Planner

__all__ = ["Asked", "Confirmation", "Planner"]
