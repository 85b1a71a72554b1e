"""Slots in Redis, shared by all replicas. Redis is asked when a connection is opened or closed, and to renew claims.

A claim ends when it is not renewed, so a replica that dies frees its slots within their time. While Redis cannot be
reached what is open goes on, and nothing is opened. When half of a claim's time has passed without a renewal,
connections beyond this replica's share of the cap are closed as they become free; when all of it has passed, and so at
the other replicas too, connections are opened up to that share. So the cap holds among replicas that all lost Redis, as
far as what is beyond the shares is given back in time; one that is cut off alone can have its share too much.

When Redis comes back without its data nobody can claim for as long as a claim lasts: those that were forgotten come
back with their renewals first.
"""

import asyncio
import logging
import secrets
import time
from importlib import resources
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from virtlease_chassis.redis_url import Kind, Target
from virtlease_pool.core.errors import NoRoom
from virtlease_pool.slots.claim import Claim

log = logging.getLogger(__name__)


class RedisSlots:
    """See `claim.Slots`."""

    def __init__(self, target: Target, prefix: str, replica: str, replicas: int, ttl: float) -> None:
        """`ttl` in seconds is how long a claim lasts; `replicas` is among how many the cap is shared without Redis."""
        self._client = _client(target, ttl / 4)
        self._prefix = prefix
        self._name = f"{replica}/{secrets.token_hex(8)}"
        self._replicas = replicas
        self._ttl = ttl
        self._number = 0
        self._epochs: dict[str, str] = {}
        """The epoch of each hypervisor's claims; see claim.lua."""
        self._doubtful: list[Claim] = []
        """Claims that may have been made although nobody was told."""
        self._claims: dict[str, dict[str, Claim]] = {}
        self._caps: dict[str, int] = {}
        self._renewed = self._answered = time.monotonic()
        self._scripts = {name: _source(name) for name in ("claim", "renew")}
        self.reachable = True
        """Whether Redis answered when it was asked last."""

    async def claim(self, hypervisor: str, cap: int) -> Claim:
        self._number += 1
        claim = Claim(hypervisor, f"{self._name}/{self._number}")
        claims = self._claims.setdefault(hypervisor, {})
        self._caps[hypervisor] = cap
        # Counted before anybody is asked: two that ask at the same time must not both see the last place.
        claims[claim.member] = claim
        try:
            granted, self._epochs[hypervisor] = await self._run(
                "claim", hypervisor, claim.member, cap, self._ttl_ms, *self._epoch(hypervisor)
            )
            self._reached(True)
        except (RedisError, OSError) as error:
            self._reached(False, error)
            granted = time.monotonic() - self._answered >= self._ttl and len(claims) <= self._share(cap)
            if not granted:
                self._doubtful.append(claim)
        except BaseException:
            del claims[claim.member]
            raise
        if not granted:
            del claims[claim.member]
            raise NoRoom
        return claim

    async def give_back(self, claim: Claim) -> None:
        self._claims[claim.hypervisor].pop(claim.member, None)
        try:
            await self._free(claim)
        except (RedisError, OSError) as error:
            self._reached(False, error)

    def held(self, hypervisor: str) -> int:
        return len(self._claims.get(hypervisor, ()))

    async def keep(self) -> None:
        """Renews claims, each third of their time, until it is cancelled."""
        while True:
            await asyncio.sleep(self._ttl / 3)
            try:
                for hypervisor in list(self._claims):
                    await self._renew(hypervisor)
                while self._doubtful:
                    await self._free(self._doubtful[-1])
                    self._doubtful.pop()
                self._reached(True)
                self._renewed = time.monotonic()
            except (RedisError, OSError) as error:
                self._reached(False, error)
                if time.monotonic() - self._renewed >= self._ttl / 2:
                    self._shrink()

    async def close(self) -> None:
        """Frees what is left, and closes the connection to Redis."""
        for claims in self._claims.values():
            for claim in list(claims.values()):
                await self.give_back(claim)
        await self._client.aclose()

    async def _renew(self, hypervisor: str) -> None:
        claims = self._claims[hypervisor]
        if not claims:
            return
        members = [*claims]
        lost, self._epochs[hypervisor] = await self._run(
            "renew", hypervisor, self._caps[hypervisor], self._ttl_ms, *self._epoch(hypervisor), *members
        )
        for member in lost:
            if (claim := claims.get(member)) is not None and not claim.lost:
                log.warning("a slot of %s was lost; its connection is closed when it is free", hypervisor)
                claim.lost = True

    def _epoch(self, hypervisor: str) -> tuple[str, str]:
        """The one that is known of a hypervisor, and one to begin if Redis has none."""
        return self._epochs.get(hypervisor, ""), secrets.token_hex(8)

    async def _free(self, claim: Claim) -> None:
        await self._client.zrem(self._keys(claim.hypervisor)[0], claim.member)

    def _shrink(self) -> None:
        """Gives up what is beyond the share of this replica: others may not see its claims any more."""
        for hypervisor, claims in self._claims.items():
            kept = [claim for claim in claims.values() if not claim.lost]
            for claim in kept[self._share(self._caps[hypervisor]) :]:
                claim.lost = True

    def _share(self, cap: int) -> int:
        return max(1, cap // self._replicas)

    def _reached(self, reached: bool, error: Exception | None = None) -> None:
        if reached:
            self._answered = time.monotonic()
        if reached != self.reachable:
            self.reachable = reached
            if reached:
                log.info("Redis can be reached again")
            else:
                log.warning("Redis cannot be reached; for now no connection is opened: %s", error)

    async def _run(self, script: str, hypervisor: str, *arguments: str | int) -> Any:
        keys = self._keys(hypervisor)
        return await self._client.eval(self._scripts[script], len(keys), *keys, *arguments)

    def _keys(self, hypervisor: str) -> tuple[str, str, str]:
        start = f"{{{self._prefix}:slots:{hypervisor}}}"
        return start, f"{start}:epoch", f"{start}:learning"

    @property
    def _ttl_ms(self) -> int:
        return round(self._ttl * 1000)


def _source(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text()


def _client(target: Target, timeout: float) -> Any:
    """A client of redis-py, which gives up after `timeout` seconds: it is asked too rarely for anything faster."""
    options: dict[str, Any] = {
        "username": target.username or None,
        "password": target.password or None,
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 1),
    }
    if target.tls is not None:
        options |= {"ssl": True, "ssl_ca_certs": target.ca or None}
    host, port = target.addresses[0]
    if target.kind is Kind.CLUSTER:
        return RedisCluster(host=host, port=port, **options)
    if target.kind is Kind.SENTINEL:
        sentinel = Sentinel(list(target.addresses), sentinel_kwargs={"socket_timeout": 1.0}, **options)  # type: ignore[no-untyped-call]
        return sentinel.master_for(target.service, db=target.database)
    return redis.asyncio.Redis(host=host, port=port, db=target.database, **options)
