"""Sessions in Redis. This process keeps nothing of them: any number of replicas are the same service."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from virtlease_chassis.errors import DomainError
from virtlease_chassis.redis_url import Target
from virtlease_session.limits import Limits
from virtlease_session.model import Answer, Create, Ended, Found, Get, GetOrCreate, Page, SessionState, Verb
from virtlease_session.ports import Watcher
from virtlease_session.store.redis.command import Command
from virtlease_session.store.redis.hints import Hints
from virtlease_session.store.redis.keys import Keys
from virtlease_session.store.redis.link import Lost, Reply, ReplyError
from virtlease_session.store.redis.node import Node
from virtlease_session.store.redis.pages import Pages
from virtlease_session.store.redis.quota import Quota
from virtlease_session.store.redis.replies import Known, answer, session_id_of, was_buried
from virtlease_session.store.redis.router import Router, unavailable
from virtlease_session.store.redis.scripts import Scripts
from virtlease_session.store.redis.sweeper import Sweeper
from virtlease_session.store.redis.topology import make_topology
from virtlease_session.store.redis.verbs import VerbWords
from virtlease_session.store.redis.watcher import RedisWatcher, Streams
from virtlease_session.tally import Tally

log = logging.getLogger(__name__)


class RedisStore:
    """See `ports.SessionStore`."""

    def __init__(
        self,
        target: Target,
        prefix: str,
        timeout: float,
        limits: Limits,
        watch_history: int,
        on_health: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], str] = lambda: "",
    ) -> None:
        """`timeout` in seconds is what Redis has to answer; `on_health` is told when it does not, and when it does.

        Args:
            prefix: what the names of all keys and channels begin with.
            watch_history: how many changes of one owner are kept in each shard.
            clock: says in tests what time it is in ms; with nothing, it is Redis that knows.
        """
        self._limits = limits
        self._on_health = on_health
        self._healthy = True
        self._tally = Tally()
        keys = Keys(prefix)
        scripts = Scripts(limits, keys.channel, watch_history)
        self._hints = Hints(keys)

        def make_node(locate: Any, primary: bool, changed: Callable[[], None]) -> Node:
            return Node(target, locate, scripts.sources, timeout, primary, self._hints.pushed, changed)

        self._topology = make_topology(target, keys.slots, make_node, self._changed)
        self._hints.follow(self._topology)
        self._router = Router(self._topology)
        self._words = VerbWords(keys, scripts, clock)
        self._pages = Pages(self._router, keys, clock)
        self._quota = Quota(limits, self._pages.count)
        self._streams = Streams(self._router, keys, scripts)
        self.sweeper = Sweeper(self._router, keys, scripts, self._words, clock, self._tally)
        log.info("sessions are kept in %s", target)

    @property
    def tally(self) -> Tally:
        return self._tally

    async def open(self) -> None:
        """Connects. Redis need not be there: it is looked for until it is."""
        await self._topology.open()
        self._changed()

    async def close(self) -> None:
        """Closes all connections."""
        self._topology.close()

    async def execute(self, verbs: Sequence[Verb]) -> list[Answer | DomainError]:
        batch = _Batch(len(verbs))
        for place, verb in enumerate(verbs):
            if isinstance(verb, Create | GetOrCreate):
                try:
                    self._quota.reserve(verb.owner)
                except DomainError as error:
                    batch.answer(place, error)
                    continue
            shard, words = self._words.words(verb)
            self._router.submit(
                Command(
                    shard,
                    words,
                    partial(self._answered, batch, place, verb, words),
                    repeatable=isinstance(verb, Get) or verb.request is not None,
                    turn=str(words[3]) if session_id_of(verb) else "",
                )
            )
        answers = await batch.answers()
        known = [place for place, each in enumerate(answers) if isinstance(each, Known)]
        if known:
            await self._read_known(verbs, answers, known)
        return answers

    async def list(self, owner: str, labels: Mapping[str, str], limit: int, after: str) -> Page:
        return await self._pages.page(owner, labels, limit, after)

    async def watch(self, owner: str, token: str) -> Watcher:
        watcher = RedisWatcher(self._streams, self._hints, owner)
        await watcher.begin(token)
        return watcher

    async def maintain(self, _cleanup_interval: float) -> None:
        """Sweeps until it is cancelled. Tombstones and request records end by themselves."""
        await self.sweeper.run()

    def _answered(self, batch: "_Batch", place: int, verb: Verb, words: Sequence[Any], reply: Reply) -> None:
        if isinstance(reply, Lost | ReplyError):
            found: Any = unavailable(reply)
        else:
            found = answer(verb, words, reply, self._limits)
        created = not isinstance(reply, Exception) and reply[0] == "created"
        if isinstance(found, Ended) or (isinstance(verb, Create | GetOrCreate) and not created):
            self._quota.give_back(verb.owner)
        self._tally.created += created
        self._tally.ended += isinstance(found, Ended)
        self._tally.expired += was_buried(reply)
        batch.answer(place, found)

    async def _read_known(self, verbs: Sequence[Verb], answers: Any, known: Sequence[int]) -> None:
        """Puts the sessions as they are now in the place of those that a request created before."""
        states = await self.execute([Get(verbs[place].owner, answers[place].session_id) for place in known])
        for place, state in zip(known, states, strict=True):
            if isinstance(verbs[place], GetOrCreate) and isinstance(state, SessionState):
                answers[place] = Found(state, answers[place].created)
            else:
                answers[place] = state

    def _changed(self) -> None:
        """A server was lost or found."""
        healthy = all(node.up for node in self._topology.nodes)
        if healthy:
            self._hints.subscribe_again()
        if healthy != self._healthy:
            self._healthy = healthy
            self._on_health(healthy)


class _Batch:
    """The answers to some verbs, as they come."""

    __slots__ = ("_all_here", "_answers", "_error", "_left")

    def __init__(self, size: int) -> None:
        self._answers: list[Any] = [None] * size
        self._left = size
        self._error: Exception | None = None
        self._all_here: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self, place: int, answer: Any) -> None:
        """Takes the answer to one of them; an error that is none of the domain's is for the whole."""
        if isinstance(answer, Exception) and not isinstance(answer, DomainError):
            self._error = answer
        self._answers[place] = answer
        self._left -= 1
        if not self._left and not self._all_here.done():
            self._all_here.set_result(None)

    async def answers(self) -> list[Any]:
        """Waits for all of them."""
        if self._left:
            await self._all_here
        if self._error is not None:
            raise self._error
        return self._answers
