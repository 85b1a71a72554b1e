"""One Redis server: a link that is kept open, made anew when it breaks, and given up on when it is silent."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from virtlease_chassis.redis_url import Address, Target
from virtlease_session.store.redis.command import Command
from virtlease_session.store.redis.link import Link, Lost, Reply, ReplyError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

log = logging.getLogger(__name__)


class Node:
    """Sends commands to a server. While it cannot be reached commands are lost at once, so that callers fail fast."""

    def __init__(
        self,
        target: Target,
        locate: Callable[[], Awaitable[Address]],
        scripts: dict[str, str],
        timeout: float,
        primary: bool,
        on_push: Callable[[list[Any]], None],
        on_change: Callable[[], None],
    ) -> None:
        """`locate` says where the server is, each time anew; `timeout` in seconds is for its answers;
        with `primary`, one that is a replica is not what was looked for.

        `on_push` gets messages of subscriptions; `on_change` is called when the server was lost or found.
        """
        self._target = target
        self._locate = locate
        self._scripts = scripts
        self._timeout = timeout
        self._primary = primary
        self._on_push = on_push
        self._on_change = on_change
        self._link: Link | None = None
        self._queue: deque[Command] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._closed = False
        self.up = True
        """Whether it can be reached, as far as is known."""

    @property
    def busy(self) -> bool:
        """Whether it has commands that are not answered yet."""
        return bool(self._queue) or (self._link is not None and self._link.waiting > 0)

    @property
    def link(self) -> Link | None:
        """The connection, while there is one."""
        return self._link

    def send(self, command: Command) -> None:
        """Sends a command, after those that were sent before. It is lost when the server cannot be reached."""
        if self._link is not None:
            if command.asking:
                self._link.send(("ASKING",), _ignore)
                command.asking = False
            self._link.send(command.words, command.on_reply)
        elif self._closed or not self.up:
            command.on_reply(Lost())
        else:
            self._queue.append(command)
            self._connect()

    def reconnect(self) -> None:
        """Breaks the connection, to look anew where the server is."""
        if self._link is not None:
            self._link.close()

    async def connected(self) -> bool:
        """Waits for the first attempt to connect. Returns whether it succeeded."""
        self._connect()
        while self._link is None and self.up:
            await asyncio.sleep(0.005)
        return self.up

    def load_scripts(self) -> None:
        """Tells the server the scripts; they are there for whatever is sent afterwards."""
        if self._link is not None:
            for source in self._scripts.values():
                self._link.send(("SCRIPT", "LOAD", source), _ignore)

    def close(self) -> None:
        """Closes the connection for good."""
        self._closed = True
        for task in (self._connecting, self._watchdog):
            if task is not None:
                task.cancel()
        if self._link is not None:
            self._link.close()
        self._lose_queue()

    def _connect(self) -> None:
        if self._connecting is None and self._link is None and not self._closed:
            self._connecting = asyncio.create_task(self._keep_trying())

    async def _keep_trying(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while True:
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._dial()
                    break
                except (OSError, ReplyError, Lost) as error:  # TimeoutError is an OSError
                    if self.up:
                        log.warning("Redis cannot be reached: %s", error or type(error).__name__)
                        self.up = False
                        self._on_change()
                    self._lose_queue()
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            self._connecting = None
        if not self.up:
            log.info("Redis can be reached again")
            self.up = True
        while self._queue:
            self.send(self._queue.popleft())
        self._on_change()

    async def _dial(self) -> None:
        host, port = await self._locate()
        link = Link(self._on_push, self._on_lost)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: link, host, port, ssl=self._target.tls)
        try:
            hello: tuple[str | int, ...] = ("HELLO", 3)
            if self._target.password:
                hello += ("AUTH", self._target.username or "default", self._target.password)
            await link.call(*hello, "SETNAME", "virtlease-session")
            if self._target.database:
                await link.call("SELECT", self._target.database)
            if self._primary and (await link.call("ROLE"))[0] != "master":
                raise OSError(f"{host}:{port} is a replica")
            for source in self._scripts.values():
                await link.call("SCRIPT", "LOAD", source)
        except BaseException:
            link.close()
            raise
        self._link = link
        self._watchdog = asyncio.create_task(self._watch(link))

    async def _watch(self, link: Link) -> None:
        """Breaks the connection when the server owes replies and none comes."""
        while True:
            before = link.replies
            owed = link.waiting > 0
            await asyncio.sleep(self._timeout / 2)
            if owed and link.replies == before:
                log.warning("Redis has not answered for %g s", self._timeout / 2)
                link.close()
                return

    def _on_lost(self) -> None:
        if self._link is None:
            return  # it never came to be
        self._link = None
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._connect()

    def _lose_queue(self) -> None:
        while self._queue:
            self._queue.popleft().on_reply(Lost())


def _ignore(_reply: Reply) -> None:
    pass
