"""Faults that are put into the code to see that a test finds them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A fault in words, where it is put, and the test that has to turn red.

    `old` stands exactly once in the file, and is replaced by `new`.
    """

    fault: str
    file: str
    old: str
    new: str
    test: str
