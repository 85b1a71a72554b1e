"""Runs something once for every order in which its tasks can take turns.

The loop asks a schedule which of the tasks that can go on does so next; work of threads takes turns like that of tasks,
and time passes only when nobody can go on. What only passes results on, between futures, runs at once. The first
schedule is that of an ordinary loop. The others follow depth first: each departs from one before it at its last choice,
until all that depart often enough have been seen.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from support.virtual_time import VirtualTimeLoop


class _Schedule:
    """The choices of one run, the first of which are given."""

    def __init__(self, given: list[int]) -> None:
        self._given = given
        self.made: list[tuple[int, int]] = []
        """Each choice, and out of how many."""

    def choose(self, ready: int) -> int:
        chosen = self._given[len(self.made)] if len(self.made) < len(self._given) else 0
        self.made.append((chosen, ready))
        return chosen


class ScheduledLoop(VirtualTimeLoop):
    """Runs one callback at a time, in an order of the schedule's while `exploring`."""

    def __init__(self, schedule: _Schedule) -> None:
        super().__init__()
        self._schedule = schedule
        self.exploring = False

    def _run_once(self) -> None:
        ready: deque[Any] = self._ready  # type: ignore[has-type]
        if len(ready) < 2:
            super()._run_once()  # type: ignore[misc]
            return
        at = self._pick(ready) if self.exploring else 0
        handle = ready[at]
        del ready[at]
        self._ready = deque([handle])
        super()._run_once()  # type: ignore[misc]
        ready.extend(self._ready)
        self._ready = ready

    def _pick(self, ready: deque[Any]) -> int:
        first: dict[int, int] = {}
        for position, handle in enumerate(ready):
            callback = handle._args[0] if handle._callback == self._step else handle._callback
            owner = getattr(callback, "__self__", None)
            if not isinstance(owner, asyncio.Task | _Work):
                return position
            first.setdefault(id(owner), position)
        turns = list(first.values())
        return turns[self._schedule.choose(len(turns))] if len(turns) > 1 else turns[0]

    def run_in_executor(self, _executor: Any, work: Callable[..., Any], *arguments: Any) -> Any:
        future = self.create_future()
        self.call_soon(_Work(future, work, arguments).run)
        return future


class _Work:
    """What a thread would do."""

    def __init__(self, future: Any, work: Callable[..., Any], arguments: Any) -> None:
        self._future = future
        self._work = work
        self._arguments = arguments

    def run(self) -> None:
        try:
            result = self._work(*self._arguments)
        except Exception as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


def explore() -> None:
    """From here on, the order of what is ready is varied."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ScheduledLoop)
    loop.exploring = True


def settle() -> None:
    """From here on, it is that of an ordinary loop again."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ScheduledLoop)
    loop.exploring = False


def every_schedule(work: Callable[[], Coroutine[Any, Any, None]], *, switches: int, most: int) -> int:
    """Runs the work for every schedule that departs from the ordinary one up to `switches` times; returns how many.

    Raises AssertionError when there are more than `most`: then they were not all seen.
    """
    given: list[int] | None = []
    count = 0
    while given is not None:
        schedule = _Schedule(given)
        with asyncio.Runner(loop_factory=lambda schedule=schedule: ScheduledLoop(schedule)) as runner:  # type: ignore[misc]
            try:
                runner.run(work())
            except BaseException as error:
                error.add_note(f"in schedule {[chosen for chosen, _ in schedule.made]}")
                raise
        count += 1
        assert count <= most, f"there are more than {most} schedules"
        given = _next(schedule.made, switches)
    return count


def _next(made: list[tuple[int, int]], switches: int) -> list[int] | None:
    while made:
        chosen, ready = made.pop()
        before = [index for index, _ in made]
        if chosen + 1 < ready and sum(index > 0 for index in before) < switches:
            return [*before, chosen + 1]
    return None
