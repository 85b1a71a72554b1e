"""Leased connections for programs without an event loop."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from virtlease.client.pool.execute import Execute
from virtlease.client.pool.keeper import Ticket
from virtlease.client.pool.open import OpenPool, check_given_back, embedded_settings
from virtlease.client.target import Target
from virtlease.client.trace import trace_metadata, traceparent
from virtlease.pool.v1 import hypervisor_pb2


class Connection(Execute):
    """A leased connection. Commands on it run one after the other, in the order in which they were asked for."""


class ConnectionPool:
    """Connections to hypervisors, lent one at a time. The pool is in this process, or wherever `target` says.

    It opens the service at its first call and closes it with `close`, with the end of its `with` block, or with the
    process. It may be used by many threads. `virtlease.aio.ConnectionPool` is its asynchronous twin.
    """

    def __init__(
        self,
        max_size: int = 8,
        ttl: float = 300,
        max_usage: int = 100,
        *,
        hypervisor_uri: str | None = None,
        hypervisors_file: Path | str | None = None,
        target: Target | str | None = None,
        acquire_timeout: float = 30.0,
        lease_ttl: float = 15.0,
        purpose: str = "",
        timeout: float = 30.0,
    ) -> None:
        """
        Args:
            max_size: embedded: connections to a hypervisor at most.
            ttl: embedded: a connection that nobody used for so many seconds is closed.
            max_usage: embedded: a connection is closed after so many leases.
            hypervisor_uri: embedded: the libvirt URI of the one hypervisor, which is named `local`; libvirt's test
                driver unless set here or by VIRTLEASE_POOL_HYPERVISOR_URI.
            hypervisors_file: embedded: a YAML file of several hypervisors, instead of the one.
            target: the pool service, whose own settings hold then. When absent, the one of
                VIRTLEASE_CLIENT_POOL_TARGET; without that, one in this process, which needs `virtlease[server]`.
            acquire_timeout: how long to wait for a free connection, in seconds.
            lease_ttl: after so many seconds a connection is taken back when this process has died: 3 to 300.
            purpose: what the connections are for: shown to operators.
            timeout: how long a command may take, in seconds, unless it says otherwise.
        """
        settings = embedded_settings(max_size, ttl, max_usage, hypervisor_uri, hypervisors_file, acquire_timeout)
        found = Target.find(target, "pool")
        self._pool = OpenPool(settings, found, acquire_timeout, lease_ttl, purpose, timeout)
        self._thread = self._pool.resource.thread

    @contextlib.contextmanager
    def connection(self, vm_id: str) -> Iterator[Connection]:
        """A connection to the VM's hypervisor, for a `with` block: leaving it gives the connection back, whatever
        happened. Raises as `get_connection` does."""
        connection = self.get_connection(vm_id)
        try:
            yield connection
        finally:
            self.release_connection(vm_id, connection)

    def get_connection(self, vm_id: str) -> Connection:
        """See `virtlease.aio.ConnectionPool.get_connection`."""
        ticket = Ticket()
        try:
            keeper, lease = self._thread.run(self._pool.acquire(ticket, vm_id, traceparent()))
        except KeyboardInterrupt:
            self._thread.submit(self._pool.abandon(ticket))
            raise
        return Connection(self._pool, keeper, lease, vm_id)

    def release_connection(self, vm_id: str, connection: Connection) -> None:
        """Gives a connection back. A second time does nothing. Raises ValueError for one of another VM or pool."""
        check_given_back(vm_id, connection.vm_id, ours=connection._pool is self._pool)
        self._thread.run(self._pool.release(connection._lease, traceparent()))

    def stats(self) -> list[hypervisor_pb2.PoolStats]:
        """How many connections are idle, leased, opened and closed, and how many callers wait, by hypervisor."""
        return self._thread.run(self._pool.stats(trace_metadata()))

    def close(self) -> None:
        """Gives back every connection, and closes the way to the service, and the service if it is in this process."""
        self._thread.run(self._pool.resource.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
