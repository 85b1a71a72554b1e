"""The frame of every process."""

import asyncio
import gc
from typing import Any, cast

from virtlease_chassis.process import Process


async def test_what_exists_when_a_process_has_started_is_nothing_to_the_garbage_collector() -> None:
    stop = asyncio.Event()
    stop.set()
    frozen = gc.get_freeze_count()
    try:
        await Process(cast("Any", None), cast("Any", None), stop).until_told_to_stop()
        assert gc.get_freeze_count() > frozen + 10_000
    finally:
        gc.unfreeze()
