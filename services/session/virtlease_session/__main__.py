"""Runs the session service: `python -m virtlease_session`."""

import sys

from virtlease_chassis.process import run_process
from virtlease_session.app import serve
from virtlease_session.settings import SessionSettings


def main() -> int:
    """Returns the exit status."""
    return run_process("session", serve, SessionSettings)


if __name__ == "__main__":
    sys.exit(main())
