"""Sessions in Redis or Valkey, for any number of replicas of the service."""

from virtlease_session.store.redis.store import RedisStore

__all__ = ["RedisStore"]
