"""The session service with a heartbeat on its loop, which tells how long anything kept the loop to itself.

A beat is a callback that asks for the next one at once, so between two of them lies one turn of the loop. What counts
is the processor time of the loop's thread between two beats: what other processes take from it is no stall of ours.

A connection to its second address makes it beat until it is closed by the other side, and is then answered with one
line: the longest turn in processor time and in wall time, in ms.
"""

import asyncio
import sys
import time

from virtlease_chassis.identity import Authenticator
from virtlease_chassis.process import Process, run_process
from virtlease_session.app import session_service
from virtlease_session.settings import SessionSettings


class Heart:
    """Beats while somebody listens."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beating = False
        self._cpu = self._wall = self._worst_cpu = self._worst_wall = 0.0

    def _beat(self) -> None:
        cpu, wall = time.thread_time(), time.perf_counter()
        self._worst_cpu = max(self._worst_cpu, cpu - self._cpu)
        self._worst_wall = max(self._worst_wall, wall - self._wall)
        self._cpu, self._wall = cpu, wall
        if self._beating:
            self._loop.call_soon(self._beat)

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Beats until the other side has said enough, then tells it the worst."""
        self._worst_cpu = self._worst_wall = 0.0
        self._cpu, self._wall = time.thread_time(), time.perf_counter()
        self._beating = True
        self._beat()
        await reader.read()
        self._beating = False
        writer.write(f"{self._worst_cpu * 1000} {self._worst_wall * 1000}\n".encode())
        writer.close()


async def serve(process: Process) -> None:
    """Runs until it is told to stop."""
    heart = Heart()
    host, _, port = sys.argv[2].rpartition(":")
    async with session_service(process, Authenticator(None)), await asyncio.start_server(heart.listen, host, int(port)):
        print("ready", flush=True)
        await process.until_told_to_stop()


if __name__ == "__main__":
    sys.exit(run_process("session", serve, SessionSettings))
