"""A libvirtd of the test's own: unprivileged, with real QEMU guests, to be stopped, killed and started again."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt

from support.guests import Guest, GuestImage, define_guest, guest_image
from support.needs import need

NOBODY = 65534
_START_SECONDS = 30.0

# The first probe of QEMU's capabilities takes many seconds; its outcome is kept for the other tests.
_CACHE = Path("/tmp/virtlease-test-libvirt-cache")

_CONF = """auth_unix_rw = "none"
log_filters = "3:remote 4:event"
keepalive_interval = -1
max_workers = {workers}
min_workers = {workers}
"""
_QEMU_CONF = """stdio_handler = "file"
security_driver = "none"
"""


class Libvirtd:
    """One daemon in a folder of its own."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("run", "conf/libvirt", "data", "home"):
            (folder / name).mkdir(parents=True)
        (folder / "libvirtd.conf").write_text(_CONF.format(workers=workers))
        (folder / "conf/libvirt/qemu.conf").write_text(_QEMU_CONF)
        _CACHE.mkdir(exist_ok=True)
        for path in (folder, *folder.rglob("*"), _CACHE):
            os.chown(path, NOBODY, NOBODY)
        folder.chmod(0o755)
        self._guests: list[Guest] = []

    @property
    def socket(self) -> Path:
        return self.folder / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        """QEMU by it."""
        return f"qemu+unix:///session?socket={self.socket}"

    @property
    def test_uri(self) -> str:
        """libvirt's test driver by it: real RPC without guests."""
        return f"test+unix:///default?socket={self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it answers."""
        folders = {"RUNTIME": "run", "CONFIG": "conf", "DATA": "data"}
        env = {
            f"XDG_{kind}_{'DIR' if kind == 'RUNTIME' else 'HOME'}": str(self.folder / name)
            for kind, name in folders.items()
        }
        env |= {"XDG_CACHE_HOME": str(_CACHE), "HOME": str(self.folder / "home"), "PATH": os.environ["PATH"]}
        user = f"--reuid={NOBODY} --regid={NOBODY} --clear-groups".split() if os.geteuid() == 0 else None
        command = ["libvirtd", "-f", str(self.folder / "libvirtd.conf"), "-p", str(self.folder / "run/libvirtd.pid")]
        with (self.folder / "libvirtd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", *user, *command] if user else command, env=env, stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                libvirt.open(self.uri).close()
                return
            except libvirt.libvirtError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def clients(self) -> int:
        """How many sockets of clients it has, as the kernel counts them."""
        lines = Path("/proc/net/unix").read_text().splitlines()
        # State 03 is connected: those of the daemon's side carry the path.
        return sum(line.endswith(str(self.socket)) and line.split()[5] == "03" for line in lines)

    def kill(self) -> None:
        """Ends it without a word; its guests run on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def guest(self, name: str, image: GuestImage, *, disk: bool = False) -> Guest:
        """Defines a guest."""
        self._guests.append(define_guest(self.uri, self.folder, name, image, disk=disk, owner=NOBODY))
        return self._guests[-1]

    def close(self) -> None:
        """Ends it and its guests."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for path in (self.folder / "run/libvirt/qemu/run").glob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)


@contextlib.contextmanager
def private_libvirtd(workers: int = 20) -> Iterator[Libvirtd]:
    """A running daemon; ended, with its guests, when the context is left."""
    need("libvirtd", "qemu-system-x86_64", "qemu-img", "setpriv")
    folder = Path(tempfile.mkdtemp(prefix="vl-", dir="/tmp"))
    daemon = Libvirtd(folder, workers)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def libvirtd_with_guests(*names: str, disk: bool = False, workers: int = 20) -> Iterator[tuple[Libvirtd, list[Guest]]]:
    """The same with defined guests."""
    image = guest_image()
    with private_libvirtd(workers) as daemon:
        yield daemon, [daemon.guest(name, image, disk=disk) for name in names]
