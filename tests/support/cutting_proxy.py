"""A TCP proxy on loopback whose connections a test can cut, or freeze."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Callable


class CuttingProxy:
    """Passes bytes on, until it is told to cut."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self.port = 0
        self.connections = 0
        self.refusing = False
        self.cut_before: Callable[[int, int], bool] = lambda _connection, _chunk: False
        """Whether to cut a connection, counted from 1, instead of passing on its next chunk of bytes, counted too."""

    def cut(self) -> None:
        """Resets all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Passes nothing on any more, as a network that swallows packets."""
        self._passing.clear()

    def thaw(self) -> None:
        self._passing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        chunks = itertools.count(1)
        cut = functools.partial(self.cut_before, self.connections)
        try:
            await asyncio.gather(
                *(self._pass(*way, lambda: cut(next(chunks))) for way in ((reader, far_writer), (far_reader, writer)))
            )
        finally:
            self._writers -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Callable[[], bool]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if cut():
                    break
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def cutting_proxy(target_port: int) -> AsyncIterator[CuttingProxy]:
    """A proxy to a port, on a free port of its own."""
    proxy = CuttingProxy(target_port)
    server = await asyncio.start_server(proxy._connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.thaw()
        proxy.cut()
        await asyncio.sleep(0)
