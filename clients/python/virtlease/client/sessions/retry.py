"""How an update that met others is done over."""

import random
from collections.abc import Iterator

TRIES = 30
_FIRST = 0.002
_LAST = 0.25


def pauses() -> Iterator[float]:
    """The seconds to wait after each try but the last: longer and longer, and never quite the same."""
    for number in range(TRIES - 1):
        yield random.uniform(0, min(_LAST, _FIRST * 2**number))
