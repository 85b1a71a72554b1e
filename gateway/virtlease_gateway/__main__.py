"""Runs the gateway: `python -m virtlease_gateway`."""

import functools
import secrets
import sys

from virtlease_chassis.process import EXIT_SETTINGS, run_process
from virtlease_chassis.settings import ProcessSettings, SettingsError, load
from virtlease_chassis.workers import run_workers
from virtlease_gateway.app import serve
from virtlease_gateway.http import listen
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.shared import Shared


def main() -> int:
    """Returns the exit status."""
    try:
        settings = load(ProcessSettings, GatewaySettings)[GatewaySettings]
        if settings.workers > 1:
            shared = Shared(listen(settings), secrets.token_bytes(32))
            return run_workers(settings.workers, functools.partial(_work, shared))
    except SettingsError as error:
        print(f"virtlease: {error}", file=sys.stderr)  # noqa: T201  # there is no log yet
        return EXIT_SETTINGS
    return run_process("gateway", serve, GatewaySettings)


def _work(shared: Shared, number: int) -> int:
    # Only one of them can have the port for Prometheus; the others export by OTLP.
    serve_shared = functools.partial(serve, shared=shared)
    return run_process("gateway", serve_shared, GatewaySettings, serve_metrics=number == 0)


if __name__ == "__main__":
    sys.exit(main())
