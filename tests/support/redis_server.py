"""Real Redis servers, each with its own folder and port."""

import atexit
import contextlib
import functools
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support.needs import need
from support.processes import free_port

_START_SECONDS = 10.0


class RedisServer:
    """A redis-server process on loopback. It keeps nothing on disk unless it is told to."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        """`options` are those of the command line, as `"--maxmemory", "10mb"`."""
        need("redis-server")
        self.port = port or free_port()
        self._folder = folder
        self._options = options
        self.process: subprocess.Popen[bytes]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, again if it was stopped, and waits until it listens."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError((self._folder / "redis.log").read_text())
            time.sleep(0.02)

    def stop(self) -> None:
        """Kills it, as a crash does; one that is paused as well."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Has it stand still: its connections stay, and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server of the test's own, which it may break."""
    server = RedisServer(folder, *options)
    try:
        yield server
    finally:
        server.stop()


@functools.cache
def shared_redis() -> RedisServer:
    """One server for all tests that break nothing and keep to a prefix of their own. It ends with the tests."""
    folder = tempfile.TemporaryDirectory(prefix="redis")
    server = RedisServer(Path(folder.name))

    @atexit.register
    def end() -> None:
        server.stop()
        folder.cleanup()

    return server
