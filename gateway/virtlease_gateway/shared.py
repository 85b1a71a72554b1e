"""What the workers of one gateway have in common."""

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shared:
    """The socket, and the key by which one knows what another has sealed."""

    listener: socket.socket
    key: bytes
