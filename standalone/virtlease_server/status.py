"""`virtlease status`: hypervisors, their pools and the leases, as a table that follows what happens."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from virtlease.client.errors import CallFailed
from virtlease.pool.v1 import hypervisor_pb2, lease_pb2, operate_pb2, pool_service_pb2_grpc

_TIMEOUT_SECONDS = 5.0
_MOST_LEASES = 40
_HEALTH_COLOURS = {"UP": "green", "DEGRADED": "yellow", "DOWN": "red"}


@dataclass(frozen=True, slots=True)
class Where:
    """A pool service and how to come in."""

    target: str
    token_file: Path | None = None
    tls_ca: Path | None = None

    def channel(self) -> grpc.Channel:
        """Opens a channel."""
        if self.tls_ca is None:
            return grpc.insecure_channel(self.target)
        return grpc.secure_channel(self.target, grpc.ssl_channel_credentials(self.tls_ca.read_bytes()))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Who is asking."""
        return (("authorization", f"Bearer {self.token_file.read_text().strip()}"),) if self.token_file else ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the service told at one moment."""

    hypervisors: hypervisor_pb2.ListHypervisorsResponse
    pools: hypervisor_pb2.GetPoolStatsResponse
    leases: operate_pb2.ListLeasesResponse


def show_status(where: Where, *, every: float | None) -> int:
    """Prints the tables once, or follows `every` so many seconds until it is interrupted. Returns the exit status."""
    console = Console()
    try:
        with where.channel() as channel:
            if every is None:
                console.print(tables(_look(channel, where)))
                return 0
            with Live(tables(_look(channel, where)), console=console, auto_refresh=False) as live:
                while True:
                    time.sleep(every)
                    live.update(tables(_look(channel, where)), refresh=True)
    except grpc.RpcError as error:
        failed = CallFailed.from_rpc_error(cast(Any, error))
        console.print(f"[red]{where.target}: {failed}[/red]")
        return 1
    except KeyboardInterrupt:
        return 0


def tables(seen: Seen) -> Group:
    """The tables of one moment."""
    return Group(_pools(seen), _leases(seen))


def _look(channel: grpc.Channel, where: Where) -> Seen:
    stub = pool_service_pb2_grpc.PoolServiceStub(channel)
    options: dict[str, Any] = {"timeout": _TIMEOUT_SECONDS, "metadata": where.metadata()}
    return Seen(
        stub.ListHypervisors(hypervisor_pb2.ListHypervisorsRequest(), **options),
        stub.GetPoolStats(hypervisor_pb2.GetPoolStatsRequest(), **options),
        stub.ListLeases(operate_pb2.ListLeasesRequest(page_size=_MOST_LEASES), **options),
    )


def _pools(seen: Seen) -> Table:
    table = Table(title="Hypervisors", title_justify="left")
    for name in ("hypervisor", "health", "mode", "libvirt", "idle", "leased", "opening", "closing", "max", "calls"):
        table.add_column(name, justify="right" if name in ("idle", "leased", "opening", "closing", "max") else "left")
    table.add_column("waiting", justify="right")
    stats = {pool.hypervisor: pool for pool in seen.pools.pools}
    for hypervisor in seen.hypervisors.hypervisors:
        pool = stats.get(hypervisor.name, hypervisor_pb2.PoolStats())
        health = hypervisor_pb2.HypervisorHealth.Name(hypervisor.health).removeprefix("HYPERVISOR_HEALTH_")
        colour = _HEALTH_COLOURS.get(health, "white")
        waiting = f"{pool.waiting} ({pool.oldest_wait.ToMilliseconds() / 1000:.1f} s)" if pool.waiting else "0"
        table.add_row(
            hypervisor.name,
            f"[{colour}]{health}[/{colour}]",
            hypervisor_pb2.PoolMode.Name(pool.mode).removeprefix("POOL_MODE_"),
            f"{hypervisor.driver} {hypervisor.libvirt_version}".strip(),
            *(str(number) for number in (pool.idle, pool.leased, pool.reserved, pool.closing, pool.max_size)),
            f"{pool.in_flight} of {hypervisor.max_in_flight}",
            waiting,
        )
    return table


def _leases(seen: Seen) -> Table:
    more = ", the oldest" if seen.leases.next_page_token else ""
    table = Table(title=f"Leases{more}", title_justify="left")
    for name in ("lease", "hypervisor", "vm", "owner", "purpose", "age", "left", "calls", "running", "trace"):
        table.add_column(name, justify="right" if name in ("age", "left", "calls") else "left")
    now = seen.leases.server_time.ToMilliseconds()
    for lease in seen.leases.leases:
        table.add_row(
            lease.lease_ref,
            lease.hypervisor,
            lease.vm_id,
            lease.owner,
            lease.purpose,
            _seconds(now - lease.acquire_time.ToMilliseconds()),
            _seconds(lease.expire_time.ToMilliseconds() - now),
            str(lease.calls),
            _running(lease),
            lease.trace_id,
        )
    return table


def _running(lease: lease_pb2.LeaseInfo) -> str:
    return f"[yellow]{lease.running_call}[/yellow]" if lease.running_call else ""


def _seconds(milliseconds: int) -> str:
    return f"{max(0, milliseconds) / 1000:.0f} s"
