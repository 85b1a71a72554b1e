"""Runs the session service: `python -m virtlease_session`."""

import os
import sys

from virtlease_chassis.process import EXIT_SETTINGS, run_process
from virtlease_chassis.settings import ProcessSettings, SettingsError, load
from virtlease_chassis.workers import run_workers
from virtlease_session.app import serve
from virtlease_session.settings import SessionSettings


def main() -> int:
    """Returns the exit status."""
    try:
        workers = load(ProcessSettings, SessionSettings)[SessionSettings].workers
    except SettingsError as error:
        print(f"virtlease: {error}", file=sys.stderr)  # noqa: T201  # there is no log yet
        return EXIT_SETTINGS
    return run_workers(workers, _work) if workers > 1 else run_process("session", serve, SessionSettings)


def _work(number: int) -> int:
    """One of several processes, which share the address."""
    os.environ[SessionSettings.env_name("workers")] = "1"
    os.environ[SessionSettings.env_name("share_port")] = "true"
    # Only one of them can have the port for Prometheus; the others export by OTLP.
    return run_process("session", serve, SessionSettings, serve_metrics=number == 0)


if __name__ == "__main__":
    sys.exit(main())
