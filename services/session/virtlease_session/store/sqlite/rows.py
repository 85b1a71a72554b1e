"""Many rows in one statement.

Between any two steps of a statement, SQLite's module gives up the interpreter's lock, and the event loop takes it for
as long as it is busy: a group of a hundred rows must be a few steps, not a hundred.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

_LARGEST = 256


def write_rows(database: sqlite3.Connection, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "") -> None:
    """Executes `head VALUES (..), (..) tail` for all rows, in as few statements as there are powers of two in them.

    The number of different statements is small, so that the module's cache of prepared ones holds them.
    """
    start = 0
    while start < len(rows):
        count = _LARGEST
        while count > len(rows) - start:
            count //= 2
        part = rows[start : start + count]
        row = f"({','.join('?' * len(part[0]))})"
        values = ",".join([row] * count)
        database.execute(f"{head} VALUES {values} {tail}", [field for each in part for field in each])
        start += count
