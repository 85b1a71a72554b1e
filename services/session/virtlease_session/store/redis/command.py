"""A command for Redis, and what is known of it on its way."""

from collections.abc import Callable
from typing import Any

from virtlease_session.store.redis.link import Reply


class Command:
    """A command that works on one shard, and whoever wants its reply."""

    __slots__ = ("asking", "done", "give_up_at", "on_reply", "repeatable", "shard", "turn", "words")

    def __init__(
        self,
        shard: int,
        words: tuple[str | int, ...],
        done: Callable[[Reply], None],
        *,
        repeatable: bool = True,
        turn: str = "",
    ) -> None:
        """`done` gets the reply, a ReplyError, or Lost.

        Args:
            repeatable: whether sending it twice has the effect of sending it once.
            turn: commands of the same turn are carried out one after the other, in the order of their coming.
        """
        self.shard = shard
        self.words = words
        self.done = done
        self.repeatable = repeatable
        self.turn = turn
        self.asking = False
        self.give_up_at = 0.0
        self.on_reply: Callable[[Any], None]
