"""Puts load on something: callers in this process, or h2load, which is C and so is not what is measured."""

import asyncio
import re
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.message import Message


async def rate(seconds: float, callers: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Calls a second, of callers that each begin the next call when the last one is answered; `call` is told which."""
    done = 0
    clock = time.perf_counter
    end = clock() + seconds

    async def caller(number: int) -> None:
        nonlocal done
        while clock() < end:
            await call(number)
            done += 1

    begin = clock()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return done / (clock() - begin)


async def latencies(count: int, call: Callable[[], Awaitable[object]]) -> list[float]:
    """How long each of so many calls took, one after the other, in milliseconds, in ascending order."""
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        await call()
        found.append((time.perf_counter() - begin) * 1000)
    return sorted(found)


async def h2load(
    address: str,
    path: str,
    request: Message,
    seconds: float,
    *,
    metadata: Sequence[tuple[str, str]] = (),
    in_flight: int = 64,
) -> float:
    """Unary gRPC calls a second that h2load gets out of a server; raises when one failed.

    It does not look at the gRPC status: whether the calls did what they should is for the caller to check.
    """
    body = request.SerializeToString()
    with tempfile.NamedTemporaryFile() as data:
        data.write(struct.pack(">BI", 0, len(body)) + body)
        data.flush()
        command = (
            "h2load", "-c", "4", "-m", str(in_flight // 4), "-D", f"{seconds * 1000:.0f}ms", "-d", data.name,
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            *(part for name, value in metadata for part in ("-H", f"{name}: {value}")), f"http://{address}{path}",
        )  # fmt: skip
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output = (await process.communicate())[0].decode()
    found = re.search(r"([\d.]+) req/s", output)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    if process.returncode or found is None or failed is None or any(int(n) for n in failed.groups()):
        raise RuntimeError(f"h2load failed:\n{output}")
    return float(found.group(1))
