"""Samples of Python out of Markdown, run as they are written."""

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Sample:
    """A block of a page; `line` is where its first line stands."""

    page: str
    line: int
    code: str

    async def run(self, names: dict[str, Any], imports: Mapping[str, str]) -> None:
        """Runs it with these names, to which it adds its own; it may await at the top, as in a notebook.

        `imports` has modules that the page names, and those that are meant.
        """
        code = self.code
        for written, meant in imports.items():
            code = code.replace(f"from {written} import", f"from {meant} import")
        program = compile(
            "\n" * (self.line - 1) + code, str(DOCS / self.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        result = eval(program, names)
        if inspect.iscoroutine(result):
            await result


def samples(page: str) -> list[Sample]:
    """The samples of a page of docs/, in order."""
    text = (DOCS / page).read_text()
    return [Sample(page, text.count("\n", 0, found.start(1)) + 1, found[1]) for found in _BLOCK.finditer(text)]
