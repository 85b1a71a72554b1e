"""MCP requests over one raw HTTP connection: as little client as there can be, and the same for all servers."""

import asyncio
import itertools
import json
from typing import Any, Self

_VERSION = "2026-07-28"
_IDS = itertools.count(1)


class RawClient:
    """One keep-alive connection, one request at a time; another one when the server closed it for want of use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    @classmethod
    async def open(cls, address: str) -> Self:
        """Connects; tries again until the server is there."""
        host, _, port = address.rpartition(":")
        for _ in range(200):
            try:
                return cls(*await asyncio.open_connection(host, int(port)), address)
            except OSError:
                await asyncio.sleep(0.05)
        raise TimeoutError(f"nothing listens on {address}")

    async def call(self, tool: str, arguments: dict[str, Any], traceparent: str = "") -> dict[str, Any]:
        """The structured result of a tool. Raises RuntimeError for anything else."""
        if self._reader.at_eof():
            again = await self.open(self._host)
            self._reader, self._writer = again._reader, again._writer
        meta = {
            "io.modelcontextprotocol/protocolVersion": _VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            **({"traceparent": traceparent} if traceparent else {}),
        }
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": next(_IDS), "method": "tools/call", "params": params}).encode()
        self._writer.write(
            f"POST /mcp HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
            f"accept: application/json, text/event-stream\r\nmcp-protocol-version: {_VERSION}\r\n"
            f"mcp-method: tools/call\r\nmcp-name: {tool}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
        answer = json.loads(await self._reader.readexactly(length))
        result = answer.get("result")
        if " 200 " not in head.partition("\r\n")[0] or result is None or result.get("isError"):
            raise RuntimeError(f"{tool} failed: {answer}")
        structured: dict[str, Any] = result["structuredContent"]
        return structured

    def close(self) -> None:
        """Closes the connection."""
        self._writer.close()
