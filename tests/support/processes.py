"""Real processes, started as a user starts them, and ended by their own ids."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
START_SECONDS = 30.0
END_SECONDS = 30.0


_given: set[int] = set()


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago, and that was not given to anybody else here.

    It is below those that the system gives to outgoing connections: one of them could take it before our process does.
    """
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = random.randint(12_000, 32_000)
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port


def clean_environment(**settings: str) -> dict[str, str]:
    """This environment without what would configure virtlease or OpenTelemetry, and with these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTLEASE_", "OTEL_"))}
    return {**kept, **settings}


@dataclass
class Running:
    """A process and what it has written."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def output(self) -> str:
        return self.out.read_text()

    @property
    def log(self) -> str:
        return self.err.read_text()

    def wait_for(self, text: str, seconds: float = START_SECONDS) -> None:
        """Waits until it has written this text. Fails when it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while text not in self.output and text not in self.log:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.output}\n{self.log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} within {seconds:g} s:\n{self.output}\n{self.log}")
            time.sleep(0.02)

    def terminate(self, seconds: float = END_SECONDS) -> int:
        """Sends SIGTERM and returns the exit status. Kills it and fails when it takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end within {seconds:g} s:\n{self.log}") from None


@contextlib.contextmanager
def running(folder: Path, name: str, *command: str, env: Mapping[str, str]) -> Iterator[Running]:
    """Starts a process whose output goes to files in the folder; it is ended when the context is left."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=dict(env))
    found = Running(process, out, err)
    try:
        yield found
    finally:
        found.terminate()


@dataclass(frozen=True)
class Addresses:
    """Where virtlease listens."""

    session: str
    pool: str
    gateway: str

    @property
    def mcp_url(self) -> str:
        return f"http://{self.gateway}/mcp"

    @property
    def settings(self) -> dict[str, str]:
        """The settings that say so; metrics are off, since every test process would want their port."""
        return {
            "VIRTLEASE_SESSION_ADDRESS": self.session,
            "VIRTLEASE_POOL_ADDRESS": self.pool,
            "VIRTLEASE_GATEWAY_ADDRESS": self.gateway,
            "VIRTLEASE_GATEWAY_SESSION_TARGET": self.session,
            "VIRTLEASE_GATEWAY_POOL_TARGET": self.pool,
            "VIRTLEASE_METRICS_ADDRESS": "127.0.0.1:0",
        }

    @classmethod
    def free(cls) -> "Addresses":
        return cls(*(f"127.0.0.1:{free_port()}" for _ in range(3)))


@contextlib.contextmanager
def virtlease_up(folder: Path, **settings: str) -> Iterator[tuple[Addresses, Running]]:
    """`virtlease up` on free ports, ready."""
    addresses = Addresses.free()
    env = clean_environment(**addresses.settings, **settings)
    with running(folder, "up", str(BIN / "virtlease"), "up", env=env) as process:
        process.wait_for("virtlease is ready")
        yield addresses, process


@contextlib.contextmanager
def virtlease_apart(folder: Path, **settings: str) -> Iterator[tuple[Addresses, dict[str, Running]]]:
    """The three as separate processes on free ports, ready."""
    addresses = Addresses.free()
    env = clean_environment(**addresses.settings, **settings)
    ready = {"session": "session service on", "pool": "pool service on", "gateway": "MCP gateway on"}
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(running(folder, name, str(BIN / "virtlease"), name, env=env)) for name in ready
        }
        for name, text in ready.items():
            processes[name].wait_for(text)
        yield addresses, processes
