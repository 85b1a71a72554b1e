"""Runs the pool service: `python -m virtlease_pool`."""

import sys

from virtlease_chassis.process import run_process
from virtlease_pool.app import serve
from virtlease_pool.settings import PoolSettings


def main() -> int:
    """Returns the exit status."""
    return run_process("pool", serve, PoolSettings)


if __name__ == "__main__":
    sys.exit(main())
