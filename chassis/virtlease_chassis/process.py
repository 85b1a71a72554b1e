"""The frame of every process: settings or one clear message, logs, telemetry, a loop, signals."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import uvloop

from virtlease_chassis.logs import set_up_logs
from virtlease_chassis.settings import Loaded, ProcessSettings, Settings, SettingsError, load
from virtlease_chassis.telemetry import ProcessTelemetry

EXIT_SETTINGS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Process:
    """What an app is given: its settings, its telemetry, and the event that says stop."""

    settings: Loaded
    telemetry: ProcessTelemetry
    stop: asyncio.Event

    @property
    def common(self) -> ProcessSettings:
        """The settings that every process has."""
        return self.settings[ProcessSettings]

    async def until_told_to_stop(self) -> None:
        """Waits, once everything has started, for the signal to stop.

        What exists by now lives as long as the process. The garbage collector need not look at it any more: each full
        collection would spend 20 ms on modules and classes, while every call waits.
        """
        gc.collect()
        gc.freeze()
        await self.stop.wait()


def run_process(
    name: str, serve: Callable[[Process], Awaitable[None]], *groups: type[Settings], serve_metrics: bool = True
) -> int:
    """Runs an app until SIGTERM or SIGINT, and returns the exit status.

    Args:
        name: what the process is called in logs and telemetry.
        serve: starts everything, waits for `stop`, and closes everything.
        groups: the settings it reads beside those of every process.
        serve_metrics: whether Prometheus can scrape it.
    """
    try:
        settings = load(ProcessSettings, *groups)
        common = settings[ProcessSettings]
        set_up_logs(common.log_level, common.log_format, name)
        with ProcessTelemetry(name, common, serve_metrics=serve_metrics) as telemetry:
            uvloop.run(_serve(serve, settings, telemetry))
    except SettingsError as error:
        print(f"virtlease: {error}", file=sys.stderr)  # noqa: T201  # there may be no log yet
        return EXIT_SETTINGS
    return 0


async def _serve(serve: Callable[[Process], Awaitable[None]], settings: Loaded, telemetry: ProcessTelemetry) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(Process(settings, telemetry, stop))
