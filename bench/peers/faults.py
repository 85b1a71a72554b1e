"""What a pool loses under cancels, and how long it lets somebody wait: `python -m bench.peers.faults NAME`."""

import asyncio
import contextlib
import os
import random
import sys
import time

import uvloop

from bench.peers.pools import PEERS, Peer

SIZE = 4
PATIENCE = 30.0


async def lost_slots(peer: Peer) -> int:
    """Of 24: six storms of cancels over a pool of four."""
    lost = 0
    for seed in range(6):
        chance = random.Random(seed)

        async def dial() -> None:
            await asyncio.sleep(0.002)

        async with peer.open(SIZE, dial) as subject:

            async def user(chance: random.Random = chance, subject: object = subject) -> None:
                loan = await subject.borrow(PATIENCE)  # type: ignore[attr-defined]
                try:
                    await asyncio.sleep(chance.choice([0, 0.0005, 0.002]))
                finally:
                    await asyncio.shield(subject.returned(loan))  # type: ignore[attr-defined]

            tasks = []
            for _ in range(200):
                tasks.append(asyncio.ensure_future(user()))
                await asyncio.sleep(chance.choice([0, 0, 0.001]))
                if chance.random() < 0.5:
                    chance.choice(tasks).cancel()
            await asyncio.wait(tasks, timeout=2)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)
            await asyncio.sleep(0.05)
            had = []
            for _ in range(SIZE):
                with contextlib.suppress(Exception):
                    had.append(await asyncio.wait_for(subject.borrow(0.3), 0.5))
            lost += SIZE - len(had)
            for loan in had:
                await subject.returned(loan)
    return lost


async def longest_wait(peer: Peer) -> float:
    """In milliseconds; 1000 for somebody who never got it."""
    longest = 0.0
    async with peer.open(1, no_time) as subject:
        stop = False

        async def greedy() -> None:
            while not stop:
                loan = await subject.borrow(PATIENCE)
                await asyncio.sleep(0)
                await subject.returned(loan)

        task = asyncio.ensure_future(greedy())
        await asyncio.sleep(0.01)
        try:
            for _ in range(20):
                begin = time.perf_counter()
                loan = await asyncio.wait_for(subject.borrow(1), 1)
                longest = max(longest, (time.perf_counter() - begin) * 1000)
                await subject.returned(loan)
                await asyncio.sleep(0)
        except Exception:
            longest = 1000
        finally:
            stop = True
            await asyncio.wait((task,), timeout=1)
            task.cancel()
            await asyncio.wait((task,), timeout=1)
    return longest


async def no_time() -> None:
    """Opening a connection takes nothing."""


async def main(name: str) -> None:
    """Prints both figures."""
    (peer,) = (peer for peer in PEERS if peer.name == name)
    print(await lost_slots(peer), await longest_wait(peer), flush=True)
    os._exit(0)  # tasks that a pool has left hanging cannot be waited for


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
