"""Verbs as commands: which script, on which keys, with which arguments."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from virtlease_chassis.request_log import stable_hash
from virtlease_session.limits import session_size
from virtlease_session.model import (
    Append,
    Create,
    Delete,
    End,
    Expected,
    Get,
    GetOrCreate,
    Increment,
    Mutation,
    Refresh,
    RequestKey,
    Set,
    Update,
    Verb,
)
from virtlease_session.session_id import mint, shard_of, shard_of_request
from virtlease_session.store.redis.keys import Keys
from virtlease_session.store.redis.pages import HEADER
from virtlease_session.store.redis.scripts import Scripts

Words: TypeAlias = tuple[str | int, ...]

# More names than this are not worth a list: the whole session is read.
_MOST_NAMES = 1000


class VerbWords:
    """Writes verbs as the words of commands."""

    def __init__(self, keys: Keys, scripts: Scripts, clock: Callable[[], str]) -> None:
        """`clock` says what time it is in ms, or nothing for the server's own time."""
        self._keys = keys
        self._sha = scripts.sha
        self._clock = clock
        self._makers: dict[type[Any], Callable[[Any], tuple[int, Words]]] = {
            Create: self._create,
            GetOrCreate: self._create,
            Get: self._get,
            Update: self._update,
            Refresh: self._refresh,
            End: self._end,
        }

    def words(self, verb: Verb) -> tuple[int, Words]:
        """The shard on which a verb works, and its command. Word 3 is the session's key."""
        return self._makers[type(verb)](verb)

    def sweep(self, shard: int, owner: str, session_id: str) -> Words:
        """Looks whether a session has expired."""
        return self._script("sweep", shard, owner, session_id)

    def _create(self, verb: Create | GetOrCreate) -> tuple[int, Words]:
        new, owner = verb.new, verb.owner
        anyhow = isinstance(verb, GetOrCreate)
        session_id = new.session_id
        if not session_id:
            session_id = mint(shard_of_request(owner, verb.request.request_id) if verb.request else None)
        shard = shard_of(owner, session_id)
        name = "get_or_create" if anyhow else "create"
        begin = self._script("create", shard, owner, session_id, name, verb.request, new.session_id)
        values: list[str] = []
        for key, text in new.values.items():
            values += (f"v:{key}", text)
        return shard, (
            *begin,
            "1" if anyhow else "",
            f"{random.getrandbits(64):016x}",
            new.idle_ttl,
            new.max_life,
            _labels_text(new.labels),
            session_size(new.values),
            *values,
        )

    def _get(self, verb: Get) -> tuple[int, Words]:
        shard = shard_of(verb.owner, verb.session_id)
        begin = self._script("get", shard, verb.owner, verb.session_id)
        touch = "1" if verb.touch else ""
        if verb.keys is None or len(verb.keys) > _MOST_NAMES:
            return shard, (*begin, touch, "*")
        return shard, (*begin, touch, *HEADER, *(f"v:{key}" for key in verb.keys))

    def _update(self, verb: Update) -> tuple[int, Words]:
        shard = shard_of(verb.owner, verb.session_id)
        begin = self._script("update", shard, verb.owner, verb.session_id, "update", verb.request, verb.session_id)
        mutations: list[str | int] = []
        for mutation in verb.mutations:
            _write_mutation(mutation, mutations)
        return shard, (*begin, *_expected(verb.expected), *mutations)

    def _refresh(self, verb: Refresh) -> tuple[int, Words]:
        shard = shard_of(verb.owner, verb.session_id)
        begin = self._script("refresh", shard, verb.owner, verb.session_id, "refresh", verb.request, verb.session_id)
        return shard, (*begin, *_expected(verb.expected), "" if verb.idle_ttl is None else verb.idle_ttl)

    def _end(self, verb: End) -> tuple[int, Words]:
        shard = shard_of(verb.owner, verb.session_id)
        begin = self._script("end", shard, verb.owner, verb.session_id, "end", verb.request, verb.session_id)
        return shard, (*begin, *_expected(verb.expected))

    def _script(
        self,
        script: str,
        shard: int,
        owner: str,
        session_id: str,
        verb: str = "",
        request: RequestKey | None = None,
        scope: str = "",
    ) -> Words:
        """The beginning that all scripts on a session have; see session.lua. `scope` is the session of the request."""
        keys = self._keys
        names = (
            keys.session(shard, owner, session_id),
            keys.deadlines[shard],
            keys.index(shard, owner),
            keys.changes(shard, owner),
        )
        if request is None:
            return ("EVALSHA", self._sha[script], 4, *names, self._clock(), session_id, owner, "")
        outcome = keys.outcome(shard, owner, verb, scope, request.request_id)
        fingerprint = stable_hash(request.body)
        return ("EVALSHA", self._sha[script], 5, *names, outcome, self._clock(), session_id, owner, fingerprint)


def _write_mutation(mutation: Mutation, words: list[str | int]) -> None:
    operation = mutation.operation
    conditions = ""
    if mutation.exists is not None:
        conditions = "+" if mutation.exists else "-"
    if mutation.equals is not None:
        begin = (mutation.key, f"{conditions}=", mutation.equals)
    else:
        begin = (mutation.key, conditions)  # type: ignore[assignment]
    match operation:
        case Set(text):
            words += ("set", *begin, text)
        case Delete():
            words += ("delete", *begin)
        case Increment(amount):
            words += ("increment", *begin, amount)
        case Append(item, max_items, max_bytes):
            words += ("append", *begin, item, max_items, max_bytes)


def _expected(expected: Expected) -> tuple[str, str]:
    return expected.etag, expected.incarnation


def _labels_text(labels: Mapping[str, str]) -> str:
    return json.dumps(dict(labels)) if labels else "{}"
