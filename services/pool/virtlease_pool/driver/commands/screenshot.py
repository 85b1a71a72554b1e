"""What a VM shows on its screen."""

import re
import struct
import zlib

import libvirt

from virtlease.pool.v1 import vm_inspection_pb2 as calls
from virtlease_pool.driver.commands.registry import Vm, on_vm
from virtlease_pool.errors import HypervisorError, PictureTooLarge

_PNG = b"\x89PNG\r\n\x1a\n"
_PPM = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s")
_MOST_RAW_BYTES = 64 * 1024 * 1024

# An answer has to fit a gRPC message of 4 MiB.
_MOST_BYTES = 4 * 1024 * 1024 - 64 * 1024


@on_vm
def get_vm_screenshot(vm: Vm, request: calls.GetVmScreenshotRequest) -> calls.GetVmScreenshotResponse:
    image = to_png(_take(vm, request.screen))
    if len(image) > _MOST_BYTES:
        raise PictureTooLarge(vm.vm_id, len(image), _MOST_BYTES)
    width, height = struct.unpack(">II", image[16:24])
    return calls.GetVmScreenshotResponse(image=image, mime_type="image/png", width=width, height=height)


def _take(vm: Vm, screen: int) -> bytes:
    """The picture in the hypervisor's own format."""
    stream = vm.host.connection.newStream()
    picture = bytearray()

    def receive(_stream: libvirt.virStream, data: bytes, _opaque: None) -> int:
        if len(picture) + len(data) > _MOST_RAW_BYTES:
            raise PictureTooLarge(vm.vm_id, len(picture) + len(data), _MOST_RAW_BYTES)
        picture.extend(data)
        return len(data)

    vm.domain.screenshot(stream, screen)
    try:
        stream.recvAll(receive, None)
    except BaseException:
        stream.abort()  # a stream left open would be the next call's trouble
        raise
    stream.finish()
    return bytes(picture)


def to_png(picture: bytes) -> bytes:
    """A PNG of a PNG, which some drivers return, or of a PPM, which QEMU does. Raises HypervisorError for others."""
    if picture.startswith(_PNG):
        return picture
    header = _PPM.match(picture)
    if header is None:
        raise HypervisorError("the hypervisor returned a picture in an unknown format")
    width, height, start = int(header[1]), int(header[2]), header.end()
    row = width * 3
    lines = b"".join(b"\0" + picture[start + at * row : start + (at + 1) * row] for at in range(height))
    kind = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # eight bits a channel, three channels
    return _PNG + _chunk(b"IHDR", kind) + _chunk(b"IDAT", zlib.compress(lines, 6)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
