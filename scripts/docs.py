"""Writes what says what the code says: settings, errors, seeded faults and api/ in docs/, and types of VM commands.

`--check` only compares.
"""

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from api_docs import api_pages
from command_types import command_types

import virtlease_chassis.errors
import virtlease_chassis.rpc.calls
import virtlease_pool.core.errors
import virtlease_pool.errors
import virtlease_session.errors
from virtlease.client import target
from virtlease_chassis.errors import DomainError
from virtlease_chassis.settings import ProcessSettings, Settings
from virtlease_chassis.status import code_of
from virtlease_gateway.failures import HINTS, OWN_REASONS
from virtlease_gateway.settings import GatewaySettings
from virtlease_pool.settings import PoolSettings
from virtlease_session.settings import SessionSettings

ROOT = Path(__file__).parent.parent
MARK = "<!-- written by `make docs` from the code; change it there -->"

GROUPS = {
    "Every process": ProcessSettings,
    "Session service": SessionSettings,
    "Pool service": PoolSettings,
    "Gateway": GatewaySettings,
}
sys.path.insert(0, str(ROOT / "tests"))
FAULTS = {"Sessions": importlib.import_module("mutants.session").MUTANTS}
ERRORS: dict[str, tuple[ModuleType, ...]] = {
    "Every service": (virtlease_chassis.errors, virtlease_chassis.rpc.calls),
    "Session service": (virtlease_session.errors,),
    "Pool service": (virtlease_pool.errors, virtlease_pool.core.errors),
}


def settings_page() -> str:
    """Every setting with its default and its meaning."""
    lines = [
        "# Settings",
        MARK,
        "",
        "All settings come from the environment. A process accepts the settings of the others and checks its own; one",
        "that is unknown or wrong stops the start with a message that lists everything that is wrong. Times are in",
        "seconds, sizes in bytes. OpenTelemetry is set by its own `OTEL_*` variables: spans and metrics are exported",
        "when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"## {title}", "", "| variable | default | meaning |", "|---|---|---|", *_settings(group)]
    lines += ["", "## Programs that use the Python client", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{target.PREFIX}{name.upper()}` | {meaning} |" for name, meaning in target.SETTINGS.items()]
    return "\n".join(lines) + "\n"


def _settings(group: type[Settings]) -> Iterator[str]:
    for name, field in group.model_fields.items():
        default = "" if field.default is None else _plain(field.default)
        meaning = " ".join((field.description or "").split())
        assert meaning, f"{group.__name__}.{name} says nothing of itself"
        yield f"| `{group.env_name(name)}` | {default} | {meaning} |"


def _plain(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`{' '.join(map(str, default))}`" if default else ""
    return f"`{default}`"


def errors_page() -> str:
    """Every reason with its status and what a tool caller is advised to do."""
    lines = [
        "# Errors",
        MARK,
        "",
        "Every error is a gRPC status with `google.rpc.ErrorInfo`: domain `virtlease`, one of these reasons, metadata,",
        "and the trace id. `BadRequest` names the field, `RetryInfo` says when a retry has a chance, `ResourceInfo`",
        "and `QuotaFailure` say what of. MCP clients get the same reason in a tool error, with the advice below.",
    ]
    for title, modules in ERRORS.items():
        lines += ["", f"## {title}", "", "| reason | status | when | advice to tool callers |", "|---|---|---|---|"]
        lines += sorted({line for module in modules for line in _errors(module)})
    lines += ["", "## Gateway", "", "| reason | status | when | advice to tool callers |", "|---|---|---|---|"]
    for reason, (code, when) in sorted(OWN_REASONS.items()):
        lines.append(f"| `{reason}` | {code} | {when} | {HINTS.get(reason, ('', ()))[0]} |")
    return "\n".join(lines) + "\n"


def _errors(module: ModuleType) -> Iterator[str]:
    for _, kind in inspect.getmembers(module, inspect.isclass):
        if not issubclass(kind, DomainError) or kind.__module__ != module.__name__ or kind is DomainError:
            continue
        if "reason" not in vars(kind):
            continue  # to callers it is what it derives from
        code = code_of(kind.__new__(kind)).name
        when = " ".join((inspect.getdoc(kind) or "").split()).partition(". ")[0].removeprefix("Raised ").rstrip(".")
        advice, _ = HINTS.get(kind.reason, ("", ()))
        yield f"| `{kind.reason}` | {code} | {when} | {advice} |"


def faults_page() -> str:
    """Every fault that is put into the code, and the test that finds it."""
    lines = [
        "# Seeded faults",
        MARK,
        "",
        "`make test-mutants` puts each of these faults into a copy of the code, one at a time, and fails unless the",
        "test beside it turns red. They are kept in `tests/mutants`: what each replaces, and by what.",
    ]
    for title, mutants in FAULTS.items():
        lines += ["", f"## {title}", "", "| fault | where | found by |", "|---|---|---|"]
        lines += [f"| {each.fault} | `{each.file.rpartition('/')[2]}` | `{each.test}` |" for each in mutants]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Returns the exit status."""
    files = {
        "docs/settings.md": settings_page(),
        "docs/errors.md": errors_page(),
        "docs/seeded-faults.md": faults_page(),
        **{f"docs/api/{name}": text for name, text in api_pages(MARK).items()},
        "clients/python/virtlease/client/pool/execute.pyi": command_types(),
    }
    stale = [name for name, text in files.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{name} is not what the code says; run `make docs`", file=sys.stderr)
        return bool(stale)
    for name, text in files.items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
