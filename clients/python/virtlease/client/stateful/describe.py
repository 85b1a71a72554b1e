"""How a stateful tool presents itself: its signature and its description, from which FastMCP makes a tool."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

_SESSION = "session"
_SESSION_ID = "session_id"


def describe(wrapper: Any, function: Callable[..., Any], ttl: float) -> None:
    """Gives the wrapper the function's signature with `session_id` in place of `session`, and says how long it lives.

    The annotation of the result is left out: the id of a new session comes with it, whatever its type.

    Raises TypeError for a function that has no parameter `session`, or has one of the name `session_id`.
    """
    signature = inspect.signature(function)
    others = list(signature.parameters.values())
    if not others or others.pop(0).name != _SESSION:
        raise TypeError(f"{function.__name__}: the first parameter of a stateful tool is `session`")
    if _SESSION_ID in signature.parameters:
        raise TypeError(f"{function.__name__}: the parameter `session_id` is added by @stateful_tool; leave it out")
    kept = f"State is kept in a session that lives for {_in_words(ttl)} after each use."
    argument = inspect.Parameter(
        _SESSION_ID,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            str | None, "The session to go on with. A new one is begun, and its id returned, without."
        ],
    )
    tail = [each for each in others if each.kind is inspect.Parameter.VAR_KEYWORD]
    head = [each for each in others if each.kind is not inspect.Parameter.VAR_KEYWORD]
    wrapper.__signature__ = signature.replace(
        parameters=[*head, argument, *tail], return_annotation=inspect.Signature.empty
    )
    wrapper.__annotations__ = {
        **{name: kind for name, kind in function.__annotations__.items() if name not in (_SESSION, "return")},
        _SESSION_ID: argument.annotation,
    }
    summary, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
    wrapper.__doc__ = "\n\n".join(part for part in (summary, kept, rest) if part)


def _in_words(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length and seconds % length == 0:
            return f"{seconds // length:g} {unit}"
    return "1 hour" if seconds == 3600 else f"{seconds:g} seconds"
