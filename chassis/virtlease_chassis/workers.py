"""Several processes that serve one address together."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping

_RESTART_SECONDS = 1.0

log = logging.getLogger(__name__)


async def run_workers(module: str, environments: list[Mapping[str, str]], stop: asyncio.Event, grace: float) -> None:
    """Runs `python -m module` once for each environment, and again when one ends unasked, until `stop` is set.

    Then each is asked to stop, and killed when it takes longer than `grace` seconds.
    """
    workers = [asyncio.create_task(_keep_running(module, environment, stop, grace)) for environment in environments]
    await stop.wait()
    await asyncio.gather(*workers)


async def _keep_running(module: str, environment: Mapping[str, str], stop: asyncio.Event, grace: float) -> None:
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        worker = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env={**os.environ, **environment})
        ended = asyncio.create_task(worker.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.error("a worker ended with status %d and is started again", ended.result())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(stopping), _RESTART_SECONDS)
            continue
        with contextlib.suppress(ProcessLookupError):
            worker.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(ended), grace)
        except TimeoutError:
            worker.kill()
            await ended
