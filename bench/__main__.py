"""Runs benchmarks, prints their tables as Markdown, and ends with status 1 when a target was missed.

`python -m bench [NAME ...]`, where a name is that of a module of this folder, and `session` also names `session_*`; all
when none is named. With QUICK=1 each runs for a moment only: that it runs is tested, and its figures mean little.
"""

import importlib
import os
import pkgutil
import sys
from pathlib import Path

import uvloop

from bench.report import Report

NOT_BENCHES = frozenset({"__main__", "drive", "etcd", "mcp_client", "report", "rounds"})


def benches() -> list[str]:
    """The names of all."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if not module.ispkg)
    return sorted(set(found) - NOT_BENCHES)


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    known = benches()
    wanted = [name for name in known if not arguments or any(name == a or name.startswith(f"{a}_") for a in arguments)]
    if not wanted:
        print(f"no benchmark {' '.join(arguments)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    report = Report(quick=os.environ.get("QUICK") == "1")
    for name in wanted:
        module = importlib.import_module(f"bench.{name}")
        report.begin(name, (module.__doc__ or "").strip())
        uvloop.run(module.run(report))
    return report.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
