"""A leased connection, as the synchronous API and its twin share it."""

from collections.abc import Callable, Mapping
from typing import Any

from virtlease.client.errors import Closed, LeaseLost
from virtlease.client.pool import commands
from virtlease.client.pool.calls import Metadata
from virtlease.client.pool.keeper import HeldLease, LeaseKeeper
from virtlease.client.pool.open import OpenPool

Progress = Callable[[Any], None]

# What a command is given that tells of its progress, in seconds: snapshots of memory take their time.
_STREAM_SECONDS = 600.0


class BaseConnection:
    """A connection to a hypervisor that nobody else uses until it is released."""

    def __init__(self, pool: OpenPool, keeper: LeaseKeeper, lease: HeldLease, vm_id: str) -> None:
        self._pool = pool
        self._thread = pool.resource.thread
        self._keeper = keeper
        self._lease = lease
        self.vm_id = vm_id
        """The VM for which it was asked, and which commands mean that name none."""

    @property
    def hypervisor(self) -> str:
        """The hypervisor that it leads to."""
        return self._lease.hypervisor

    @property
    def lease_id(self) -> str:
        """The secret by which calls of one's own can use the connection."""
        return self._lease.lease_id

    @property
    def alive(self) -> bool:
        """Whether it can be used, as far as is known."""
        return not self._lease.released and self._lease.lost is None

    def __repr__(self) -> str:
        state = "alive" if self.alive else "released" if self._lease.released else "lost"
        return f"<{type(self).__name__} to {self.hypervisor}, {state}>"

    def _prepared(self, name: str, arguments: Mapping[str, Any]) -> "tuple[commands.Command, Any]":
        """The command and its request. Raises Closed, LeaseLost, ValueError or TypeError."""
        if self._lease.released:
            raise Closed("this connection was given back; get another one")
        if self._lease.lost is not None:
            raise self._lease.lost
        command = commands.find(name)
        return command, command.request(self.vm_id, self.lease_id, arguments)

    async def _run(
        self,
        command: commands.Command,
        request: Any,
        timeout: float | None,
        trace: Metadata,
        progress: Progress | None,
    ) -> Any:
        """Runs a command. On the loop thread."""
        seconds = timeout or (max(self._pool.timeout, _STREAM_SECONDS) if command.streams else self._pool.timeout)
        try:
            return await self._keeper.calls.run(command, request, seconds, trace, progress)
        except LeaseLost as failure:
            self._lease.lose(failure)
            raise
