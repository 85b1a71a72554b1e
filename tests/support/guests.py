"""A guest that boots in seconds without KVM: Debian's cloud kernel and a static busybox that answers on a serial line.

The kernel is taken out of its package and not installed. What is built is kept for the next run.
"""

import gzip
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import libvirt

from support.needs import absent

# Below /tmp, since an unprivileged libvirtd has to reach it.
CACHE = Path("/tmp/virtlease-test-guest")

_INIT = """#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo
remembered=nothing
echo GUEST-READY
while read word rest; do
  case $word in
    ping) echo "pong $rest" ;;
    remember) remembered=$rest; echo ok ;;
    recall) echo "it is $remembered" ;;
    poweroff) poweroff -f ;;
  esac
done
"""

_DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>96</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet panic=1</cmdline></os>
  <features><acpi/></features>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {disk}
    <serial type='unix'><source mode='bind' path='{console}'/></serial>
    <video><model type='vga'/></video>
    <memballoon model='none'/>
  </devices>
</domain>"""
_DISK = """<disk type='file'><driver name='qemu' type='qcow2'/><source file='{disk}'/>
  <target dev='vda' bus='virtio'/></disk>"""


@dataclass(frozen=True, slots=True)
class GuestImage:
    """The files that guests boot from."""

    kernel: Path
    initrd: Path


def guest_image() -> GuestImage:
    """Builds what is missing. Skips the test where it cannot be had."""
    kernel, initrd = CACHE / "vmlinuz", CACHE / "initrd"
    CACHE.mkdir(mode=0o755, exist_ok=True)
    if not kernel.exists():
        _fetch_kernel(kernel)
    busybox = shutil.which("busybox")
    if busybox is None:
        absent("busybox-static is not installed")
    assert busybox is not None
    initrd.write_bytes(gzip.compress(_archive({"init": _INIT.encode(), "bin/busybox": Path(busybox).read_bytes()}), 1))
    return GuestImage(kernel, initrd)


def _fetch_kernel(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        depends = subprocess.run(
            ["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=False
        )
        names = [line.split()[-1] for line in depends.stdout.splitlines() if "Depends: linux-image" in line]
        done = subprocess.run(["apt-get", "download", *names], cwd=folder, capture_output=True, check=False)
        packages = list(Path(folder).glob("*.deb"))
        if not names or done.returncode or not packages:
            absent("Debian's cloud kernel cannot be downloaded")
        subprocess.run(["dpkg", "-x", str(packages[0]), "root"], cwd=folder, check=True)
        (image,) = Path(folder, "root", "boot").glob("vmlinuz-*")
        shutil.copy(image, target)
        target.chmod(0o644)


def _archive(files: dict[str, bytes]) -> bytes:
    """A cpio archive as the kernel unpacks it, with the folders and the commands that the guest needs."""
    entries: list[tuple[str, int, bytes]] = [
        (name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "proc", "sys")
    ]
    entries += [(name, stat.S_IFREG | 0o755, content) for name, content in files.items()]
    links = ("sh", "mount", "stty", "poweroff", "cat", "echo")
    entries += [(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox") for name in links]
    parts = []
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        parts += [header, b"\0" * (-len(header) % 4), content, b"\0" * (-len(content) % 4)]
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Guest:
    """A defined VM and its serial line."""

    name: str
    console: Path
    pid_file: Path

    def ask(self, question: str, answer: str, seconds: float = 40) -> None:
        """Writes to the serial line until the guest answers. Fails when it does not."""
        deadline = time.monotonic() + seconds
        heard = b""
        while time.monotonic() < deadline:
            try:
                with socket.socket(socket.AF_UNIX) as line:
                    line.settimeout(2)
                    line.connect(str(self.console))
                    line.sendall(question.encode() + b"\n")
                    while answer.encode() not in heard:
                        heard += line.recv(4096)
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"{self.name} did not answer {question!r} with {answer!r}: {heard!r}")

    @property
    def pid(self) -> int:
        """The process that runs it."""
        return int(self.pid_file.read_text())


def define_guest(uri: str, folder: Path, name: str, image: GuestImage, *, disk: bool = False, owner: int) -> Guest:
    """Defines a VM. `folder` is where the daemon can write; `owner` the user it runs as."""
    source = ""
    if disk:
        path = folder / f"{name}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "64M"], check=True)
        os.chown(path, owner, -1)
        source = _DISK.format(disk=path)
    console = folder / f"{name}.console"
    xml = _DOMAIN.format(name=name, kernel=image.kernel, initrd=image.initrd, disk=source, console=console)
    connection = libvirt.open(uri)
    connection.defineXML(xml)
    connection.close()
    return Guest(name, console, folder / "run/libvirt/qemu/run" / f"{name}.pid")
