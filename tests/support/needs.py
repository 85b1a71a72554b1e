"""What a test needs of the machine."""

import os
import shutil

import pytest


def need(*programs: str) -> None:
    """Skips the test when a program is missing; with CI=true that is a failure."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        absent(f"{', '.join(missing)} not found")


def absent(reason: str) -> None:
    """Skips the test for this reason; with CI=true that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI has to have it")
    pytest.skip(reason)
