"""Names in one spelling and another."""

import re

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")


def snake_case(name: str) -> str:
    """`StartVm` as `start_vm`, `GetVmXml` as `get_vm_xml`."""
    return "_".join(word.lower() for word in _WORD.findall(name))
