"""A hypervisor's cap over all replicas: a connection is opened only with a claim on one of its slots."""

from virtlease_pool.slots.claim import Claim, Slots
from virtlease_pool.slots.connector import ClaimingConnector
from virtlease_pool.slots.local import LocalSlots
from virtlease_pool.slots.redis import RedisSlots

__all__ = ["Claim", "ClaimingConnector", "LocalSlots", "RedisSlots", "Slots"]
