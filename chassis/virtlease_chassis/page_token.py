"""Where the next page of a list begins, as text for the caller to hand back."""

import base64
import hashlib
import json

from virtlease_chassis.errors import InvalidArgument

_FIELD = "page_token"


def encode(after: str, selection: object) -> str:
    """A token for the page that follows the item `after`; empty when there is none.

    `selection` is what the list was asked for, as JSON can say it: the token holds for that alone.
    """
    if not after:
        return ""
    return base64.urlsafe_b64encode(json.dumps([_digest(selection), after]).encode()).decode()


def decode(token: str, selection: object) -> str:
    """Where the page begins. Raises InvalidArgument for what `encode` never made, or made for another selection.

    A forged token can only choose another place in the caller's own list.
    """
    if not token:
        return ""
    try:
        digest, after = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError) as error:
        raise InvalidArgument(_FIELD, "not a token of this service") from error
    if digest != _digest(selection):
        raise InvalidArgument(_FIELD, "belongs to a list with other filters")
    if not isinstance(after, str):
        raise InvalidArgument(_FIELD, "not a token of this service")
    return after


def _digest(selection: object) -> str:
    return hashlib.blake2b(json.dumps(selection, sort_keys=True).encode(), digest_size=6).hexdigest()
