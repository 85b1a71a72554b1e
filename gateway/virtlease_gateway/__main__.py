"""Runs the gateway: `python -m virtlease_gateway`."""

import sys

from virtlease_chassis.process import run_process
from virtlease_gateway.app import serve
from virtlease_gateway.settings import GatewaySettings


def main() -> int:
    """Returns the exit status."""
    return run_process("gateway", serve, GatewaySettings)


if __name__ == "__main__":
    sys.exit(main())
