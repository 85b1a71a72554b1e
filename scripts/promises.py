"""Holds docs/promises.md against the tests: every test it names exists, runs and passes, and every promise has one.

A test that carries a promise's name (test_s1_...) and is not listed is a fault too: the page would claim too little.
Tests of the slow suites are not run here but in the steps of CI that are theirs, where a skip is a failure. What `make
test` has run since the code changed is not run again.
"""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / ".venv" / "tests.xml"
PAGE = ROOT / "docs" / "promises.md"
PROMISES = [f"S{n}" for n in range(1, 8)] + [f"P{n}" for n in range(1, 8)] + [f"G{n}" for n in range(1, 6)]
NOT_YET = "not yet"
FAST = ("tests/unit", "tests/contract", "tests/integration", "tests/e2e")
PUT_OFF = ("skip", "skipif", "xfail")
NAMED = re.compile(r"::test_([spg][1-7])_")


class Outcomes:
    """Collects what becomes of the tests."""

    def __init__(self) -> None:
        self.collected: set[str] = set()
        self.put_off: set[str] = set()
        self.passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.collected = {item.nodeid.split("[")[0] for item in items}
        self.put_off = {
            item.nodeid.split("[")[0] for item in items if any(item.get_closest_marker(name) for name in PUT_OFF)
        }

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid.split("[")[0])


def read_page() -> dict[str, list[str]]:
    """The tests of each promise, by the page's table: `| S1 | words | test ids, or "not yet" | what is missing |`."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 4 and cells[1] in PROMISES:
            found[cells[1]] = re.findall(r"`([^`]+::[^`]+)`", cells[3]) or [NOT_YET] * (cells[3] == NOT_YET)
    return found


def last_passed() -> set[str]:
    """The tests that passed when `make test` ran last, if nothing was changed since; those of a test have to, all."""
    sources = subprocess.run(
        ["git", "ls-files", "*.py", "*.lua", "*.proto", "uv.lock"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    if not sources or not RESULTS.exists():
        return set()
    if max((ROOT / source).stat().st_mtime for source in sources) > RESULTS.stat().st_mtime:
        return set()
    passed: set[str] = set()
    others: set[str] = set()
    for case in ET.parse(RESULTS).iter("testcase"):
        test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').split('[')[0]}"
        (others if len(case) else passed).add(test)
    return passed - others


def main() -> int:
    """Returns the exit status."""
    page = read_page()
    faults = [
        f"{promise} has no test, and is not said to be {NOT_YET}" for promise in PROMISES if not page.get(promise)
    ]
    listed = {test for tests in page.values() for test in tests if test != NOT_YET}

    everything = Outcomes()
    pytest.main(["--collect-only", "-q", "-q", "--no-header", "tests"], plugins=[everything])
    named = {test for test in everything.collected if NAMED.search(test)}
    faults += [f"{test} is named for a promise and not listed" for test in sorted(named - listed)]
    faults += [f"{test} is listed and does not exist" for test in sorted(listed - everything.collected)]
    faults += [f"{test} is listed and may be skipped" for test in sorted(listed & everything.put_off)]

    run = Outcomes()
    left = {test for test in listed if test.startswith(FAST)} - last_passed()
    if not faults and left:
        pytest.main(["-q", "--no-header", *sorted(left)], plugins=[run])
        faults += [f"{test} did not pass" for test in sorted(left - run.passed)]
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        waiting = [promise for promise in PROMISES if page[promise] == [NOT_YET]]
        print(
            f"{len(listed)} tests hold {len(PROMISES) - len(waiting)} promises; not yet: {', '.join(waiting) or 'none'}"
        )
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
