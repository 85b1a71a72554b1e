"""The Lua scripts: one a verb, each an atomic step in Redis."""

from hashlib import sha1
from importlib import resources

from virtlease_chassis.request_log import KEPT_MS
from virtlease_session.limits import Limits

_VERBS = ("create", "get", "update", "refresh", "end", "sweep")
_OTHERS = ("due", "watch")

# The fields that every session's hash has besides its values; see session.lua.
_OWN_FIELDS = 9


class Scripts:
    """Every script, with the limits written into it."""

    def __init__(self, limits: Limits, channel: str, watch_history: int) -> None:
        """`channel` is how the channels of owners begin; `watch_history` how many changes a stream keeps."""
        constants = {
            "KEPT": KEPT_MS,
            "HISTORY": watch_history,
            "CHANNEL": f"'{channel}'",
            "VALUE_BYTES": limits.value_bytes,
            "SESSION_BYTES": limits.session_bytes,
            "MOST_KEYS": limits.keys,
            "OWN_FIELDS": _OWN_FIELDS,
        }
        head = "".join(f"local {name} = {value}\n" for name, value in constants.items()) + _source("clock")
        self.sources = {verb: head + _source("session") + _source(verb) for verb in _VERBS}
        self.sources |= {other: head + _source(other) for other in _OTHERS}
        self.sha = {
            name: sha1(source.encode(), usedforsecurity=False).hexdigest() for name, source in self.sources.items()
        }
        """The name that Redis gives to each."""


def _source(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text()
