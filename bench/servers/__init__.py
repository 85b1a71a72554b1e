"""The servers that are measured: real processes on loopback, ended by their own ids."""

import contextlib
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.identities import bearer, write_identities
from support.processes import BIN, clean_environment, free_port, running

CALLER = bearer("alice")
"""The metadata of the callers: services are measured as they are run, and so ask who calls."""


@dataclass(frozen=True)
class Server:
    """Where it listens and which process it is."""

    address: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes when it is left."""
    with tempfile.TemporaryDirectory(prefix="virtlease-bench-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def session_service(data_dir: Path | None = None, **settings: str) -> Iterator[Server]:
    """`virtlease session` as it is shipped: identities, metrics for Prometheus, tracing installed and unsampled."""
    address = f"127.0.0.1:{free_port()}"
    command = (str(BIN / "virtlease"), "session", *(("--data-dir", str(data_dir)) if data_dir else ()))
    with scratch() as folder:
        env = clean_environment(
            VIRTLEASE_SESSION_ADDRESS=address,
            VIRTLEASE_METRICS_ADDRESS=f"127.0.0.1:{free_port()}",
            VIRTLEASE_IDENTITY_FILE=str(write_identities(folder)),
            **settings,
        )
        with running(folder, "session", *command, env=env) as process:
            process.wait_for("session service on")
            yield Server(address, process.process.pid)


@contextlib.contextmanager
def pool_service(**settings: str) -> Iterator[Server]:
    """`virtlease pool` as it is shipped, on libvirt's test driver."""
    address = f"127.0.0.1:{free_port()}"
    with scratch() as folder:
        env = clean_environment(
            VIRTLEASE_POOL_ADDRESS=address,
            VIRTLEASE_METRICS_ADDRESS=f"127.0.0.1:{free_port()}",
            VIRTLEASE_IDENTITY_FILE=str(write_identities(folder)),
            **settings,
        )
        with running(folder, "pool", str(BIN / "virtlease"), "pool", env=env) as process:
            process.wait_for("pool service on")
            yield Server(address, process.process.pid)


@contextlib.contextmanager
def module(name: str, *arguments: str, **settings: str) -> Iterator[Server]:
    """A server of this folder, which says `ready` when it is. Its first argument is its address."""
    address = f"127.0.0.1:{free_port()}"
    env = clean_environment(VIRTLEASE_SESSION_ADDRESS=address, VIRTLEASE_METRICS_ADDRESS="127.0.0.1:0", **settings)
    command = (sys.executable, "-m", f"bench.servers.{name}", address, *arguments)
    with scratch() as folder, running(folder, name, *command, env=env) as process:
        process.wait_for("ready")
        yield Server(address, process.process.pid)


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[Server]:
    """redis-server that keeps nothing."""
    port = free_port()
    with scratch() as folder:
        command = (
            "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--save", "", "--appendonly", "no", *options,
        )  # fmt: skip
        with running(folder, "redis", *command, env=clean_environment()) as process:
            process.wait_for("Ready to accept connections")
            yield Server(f"127.0.0.1:{port}", process.process.pid)


@contextlib.contextmanager
def etcd_server() -> Iterator[Server | None]:
    """etcd with its defaults, or None where it is not installed."""
    if shutil.which("etcd") is None:
        yield None
        return
    client, peer = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with scratch() as folder:
        command = (
            "etcd", "--data-dir", str(folder / "data"), "--listen-client-urls", f"http://{client}",
            "--advertise-client-urls", f"http://{client}", "--listen-peer-urls", f"http://{peer}",
            "--initial-advertise-peer-urls", f"http://{peer}", "--initial-cluster", f"default=http://{peer}",
        )  # fmt: skip
        with running(folder, "etcd", *command, env=clean_environment()) as process:
            _wait_for_port(client)
            yield Server(client, process.process.pid)


def _wait_for_port(address: str, seconds: float = 30.0) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on {address}")
        time.sleep(0.05)
