"""Brings commands to the server that has their shard, and again when it was the wrong one or the connection broke."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from virtlease_session.errors import StoreUnavailable
from virtlease_session.store.redis.command import Command
from virtlease_session.store.redis.link import Lost, Reply, ReplyError
from virtlease_session.store.redis.topology import Topology

_PAUSE_SECONDS = 0.03
_PATIENCE_SECONDS = 5.0

# What a server says that did nothing with a command, and may do it a moment later.
_NOT_NOW = ("TRYAGAIN", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "BUSY", "MOVED", "ASK")
_NOT_THIS_SERVER = ("READONLY", "MASTERDOWN")
_CANNOT = ("OOM", "MISCONF", "NOREPLICAS", "NOAUTH", "NOPERM")

Ask: TypeAlias = tuple[int, tuple[str | int, ...]]
"""A shard, and a command for the server that has it."""

log = logging.getLogger(__name__)


class Router:
    """Where commands are given to the servers."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._loop = asyncio.get_running_loop()
        self._turns: dict[str, deque[Command]] = {}

    def submit(self, command: Command) -> None:
        """Sends a command when it is its turn. Its `done` gets the reply, the ReplyError, or Lost.

        A turn has one command on its way at a time: another one behind it could overtake it when it has to be sent
        again. That costs a round trip only where one session is used several times in a batch.
        """
        command.on_reply = partial(self._replied, command)
        if command.turn:
            others = self._turns.get(command.turn)
            if others is not None:
                others.append(command)
                return
            self._turns[command.turn] = deque()
        self._send(command)

    def ask_for(self, commands: Sequence[Ask], done: Callable[[list[Reply]], None]) -> None:
        """Sends commands that can be repeated, each with its shard. `done` gets their replies."""
        replies: list[Reply] = [None] * len(commands)
        left = len(commands)

        def take(place: int, reply: Reply) -> None:
            nonlocal left
            replies[place] = reply
            left -= 1
            if not left:
                done(replies)

        for place, (shard, words) in enumerate(commands):
            self.submit(Command(shard, words, partial(take, place)))

    async def ask(self, commands: Sequence[Ask]) -> list[Reply]:
        """Sends commands as `ask_for` does, and returns their replies.

        Raises StoreUnavailable, or the ReplyError of the first that has one.
        """
        if not commands:
            return []
        answered: asyncio.Future[list[Reply]] = self._loop.create_future()
        self.ask_for(commands, lambda replies: None if answered.done() else answered.set_result(replies))
        replies = await answered
        for reply in replies:
            if isinstance(reply, Exception):
                raise unavailable(reply)
        return replies

    def _send(self, command: Command) -> None:
        self._topology.node_of(command.shard).send(command)

    def _replied(self, command: Command, reply: Reply) -> None:
        if isinstance(reply, Lost | ReplyError) and self._again(command, reply):
            return
        if command.turn:
            others = self._turns[command.turn]
            if others:
                self._send(others.popleft())
            else:
                del self._turns[command.turn]
        command.done(reply)

    def _again(self, command: Command, reply: Lost | ReplyError) -> bool:
        """Sends a command once more, if that is any use. Returns whether it was sent."""
        now = self._loop.time()
        first = not command.give_up_at
        if first:
            command.give_up_at = now + _PATIENCE_SECONDS
        if isinstance(reply, Lost):
            if first and command.repeatable:
                self._send(command)
                return True
            return False
        code, *rest = str(reply).split(" ")
        if now >= command.give_up_at:
            return False
        if code == "NOSCRIPT":
            self._topology.node_of(command.shard).load_scripts()
            self._send(command)
            return True
        if code == "ASK":
            command.asking = True
            self._topology.node_at(_address(rest[1])).send(command)
            return True
        if code not in _NOT_NOW:
            return False
        if code == "MOVED":
            self._topology.moved(command.shard, _address(rest[1]))
        elif code in _NOT_THIS_SERVER:
            self._topology.node_of(command.shard).reconnect()
        if code == "MOVED" and first:
            self._send(command)
        else:
            self._loop.call_later(_PAUSE_SECONDS, self._send, command)
        return True


def unavailable(reply: Exception) -> Exception:
    """The error of the domain for a command that was not answered as it should have been."""
    if isinstance(reply, Lost):
        return StoreUnavailable()
    code = str(reply).partition(" ")[0]
    if code in _NOT_NOW or code in _CANNOT:
        log.error("Redis refuses: %s", reply)
        return StoreUnavailable()
    return reply


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
