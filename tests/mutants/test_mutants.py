"""Each fault of the tables is put into a copy of the tree, and its test has to turn red there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutants import Mutant
from mutants.session import MUTANTS

ROOT = Path(__file__).parent.parent.parent
PARTS = ("chassis", "clients/python", "gateway", "services", "standalone", "tests", "pyproject.toml", "protos")
PACKAGES = ("chassis", "clients/python", "gateway", "services/pool", "services/session", "standalone")
RED, GREEN = 1, 0

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all that the tests need."""
    folder = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def run(copy: Path, *tests: str) -> tuple[int, str]:
    """The status of pytest in the copy, whose packages come before those of the tree, and what it wrote."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(copy / each) for each in PACKAGES), "ROUNDS": "1"}
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # a file that changes twice within a second would be taken from a stale one
    command = (sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests)
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_without_a_fault_all_of_them_are_green(copy: Path) -> None:
    status, output = run(copy, *sorted({mutant.test for mutant in MUTANTS}))
    assert status == GREEN, output
    assert "skipped" not in output


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault.replace(" ", "_"))
def test_the_fault_is_found(mutant: Mutant, copy: Path) -> None:
    file = copy / mutant.file
    text = file.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}"
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        status, output = run(copy, mutant.test)
    finally:
        file.write_text(text)
    assert status == RED, f"pytest ended with {status}:\n{output}"
    assert "1 failed" in output, output
