"""URIs with variables, such as `vm://{hypervisor}/{name}/xml`: simple expansion of RFC 6570, and its way back."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote

_VARIABLE = re.compile(r"\{([a-z0-9_.]+)\}")


class UriTemplate:
    """A template and its variables. A variable stands for one segment of a path, never for an empty one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.variables: tuple[str, ...] = tuple(_VARIABLE.findall(text))
        parts = _VARIABLE.split(text)
        self._pattern = re.compile(
            "".join(re.escape(part) if number % 2 == 0 else "([^/?#]+)" for number, part in enumerate(parts))
        )

    def expand(self, value_of: Callable[[str], str]) -> str:
        """The URI with the values of the variables, escaped; empty when one of them is empty."""
        values = {name: quote(value_of(name), safe="") for name in self.variables}
        return _VARIABLE.sub(lambda found: values[found[1]], self.text) if all(values.values()) else ""

    def match(self, uri: str) -> Mapping[str, str] | None:
        """The values of the variables in a URI; None when it is none of this template."""
        found = self._pattern.fullmatch(uri)
        return None if found is None else dict(zip(self.variables, map(unquote, found.groups()), strict=True))


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with the values of the variables in it, as they are."""
    return _VARIABLE.sub(lambda found: values[found[1]], text)
