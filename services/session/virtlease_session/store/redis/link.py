"""One connection to a Redis server, with any number of commands on their way at once.

What is sent in one turn of the event loop leaves in one write, and comes back in as few reads: that is the round trip
that a batch takes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import hiredis

Reply: TypeAlias = Any
"""What the server said; ReplyError for an error."""

ReplyError = hiredis.ReplyError

_NOTHING = object()
_pack: Callable[[tuple[str | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub errs


class Lost(Exception):
    """Stands for the reply to a command whose connection broke: it may have had its effect."""


class Link(asyncio.Protocol):
    """Sends commands, and hands each reply to whoever waits for it, in order."""

    def __init__(self, pushed: Callable[[list[Any]], None], lost: Callable[[], None]) -> None:
        """`pushed` gets messages of subscriptions; `lost` is called once, before what still waits is lost."""
        self._pushed = pushed
        self._lost = lost
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace", notEnoughData=_NOTHING)
        self._waiting: deque[Callable[[Reply], None]] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._replies = 0

    @property
    def replies(self) -> int:
        """How many replies have come so far."""
        return self._replies

    @property
    def waiting(self) -> int:
        """How many replies are still to come."""
        return len(self._waiting)

    def send(self, command: tuple[str | int, ...], on_reply: Callable[[Reply], None]) -> None:
        """Sends a command with the others of this turn. `on_reply` gets its reply, or Lost."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(_pack(command))
        self._waiting.append(on_reply)

    def tell(self, command: tuple[str | int, ...]) -> None:
        """Sends a command that is answered by a push, such as SUBSCRIBE."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(_pack(command))

    async def call(self, *command: str | int) -> Reply:
        """Sends a command and waits for its reply. Raises ReplyError, or Lost."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send(command, lambda reply: None if future.done() else future.set_result(reply))
        reply = await future
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        """Breaks the connection; what still waits is lost."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOTHING:
                if isinstance(reply, hiredis.PushNotification):
                    self._pushed(reply)
                else:
                    self._replies += 1
                    self._waiting.popleft()(reply)
        except hiredis.ProtocolError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost()
        lost = Lost()
        while self._waiting:
            self._waiting.popleft()(lost)
