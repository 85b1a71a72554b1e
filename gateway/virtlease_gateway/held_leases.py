"""Leases that sessions hold, so that the calls of a workflow use one connection.

Off unless an agent asks for it: it calls the tool that grants a lease with its session, and from then on the session's
calls to that hypervisor run on the lease, which lives as long as it is used. It is given back when the agent says so or
when the session is over. The gateway keeps this in the process: a call that another worker gets runs on a connection of
its own, and a lease whose gateway has gone ends by its time to live.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from virtlease.client import CallFailed
from virtlease_chassis.identity import Principal
from virtlease_gateway.failures import ToolFailure
from virtlease_gateway.sessions import Sessions

Release = Callable[[str, Principal], Awaitable[None]]
"""Gives a lease back, by its id. Raises CallFailed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    user: Principal
    session_id: str
    hypervisor: str
    lease_id: str


class HeldLeases:
    """Which session holds which leases; at most `most` of one owner's."""

    def __init__(self, sessions: Sessions, most: int) -> None:
        self._sessions = sessions
        self._most = most
        self._held: dict[tuple[str, str, str], _Held] = {}
        self._count: Counter[str] = Counter()
        self._watches: dict[_Held, asyncio.Task[None]] = {}
        self.release: Release | None = None

    @property
    def allowed(self) -> bool:
        """Whether sessions hold leases at all."""
        return self._most > 0

    def find(self, user: Principal, session_id: str, hypervisor: str) -> str:
        """The lease that a session holds of a hypervisor; empty for none."""
        held = self._held.get((user.name, session_id, hypervisor))
        return held.lease_id if held else ""

    def check_room(self, user: Principal) -> None:
        """Raises ToolFailure when no more of the owner's sessions may hold a lease."""
        if self._count[user.name] >= self._most:
            raise ToolFailure(
                "RESOURCE_EXHAUSTED",
                "TOO_MANY_HELD_LEASES",
                f"your sessions hold {self._most} leases already, and may not hold more; release one first",
            )

    def hold(self, user: Principal, session_id: str, hypervisor: str, lease_id: str) -> None:
        """Has a session hold a lease from now on, until it is over. Another of that hypervisor is no longer held."""
        if former := self.find(user, session_id, hypervisor):
            self.forget(former)
        held = _Held(user, session_id, hypervisor, lease_id)
        self._held[user.name, session_id, hypervisor] = held
        self._count[user.name] += 1
        self._watches[held] = asyncio.create_task(self._watch(held))

    def forget(self, lease_id: str) -> None:
        """A lease is over."""
        for key, held in list(self._held.items()):
            if held.lease_id == lease_id:
                del self._held[key]
                self._count[held.user.name] -= 1
                if (watch := self._watches.pop(held, None)) is not asyncio.current_task() and watch is not None:
                    watch.cancel()

    async def close(self) -> None:
        """Gives everything back."""
        held = list(self._held.values())
        for each in held:
            self.forget(each.lease_id)
        await asyncio.gather(*(self._give_back(each) for each in held))

    async def _watch(self, held: _Held) -> None:
        await self._sessions.wait_until_over(held.session_id, held.user)
        self.forget(held.lease_id)
        await self._give_back(held)

    async def _give_back(self, held: _Held) -> None:
        try:
            if self.release is not None:
                await self.release(held.lease_id, held.user)
        except CallFailed as failure:
            log.info("a lease of a session that is over was not given back: %s", failure)
