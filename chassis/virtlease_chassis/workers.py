"""Several processes that serve one address, and the one that looks after them."""

import logging
import os
import signal
import time
from collections.abc import Callable

from virtlease_chassis.process import EXIT_SETTINGS

_QUICK_SECONDS = 5.0

log = logging.getLogger(__name__)


def run_workers(count: int, work: Callable[[int], int]) -> int:
    """Forks `count` workers, which run `work` with their number, and replaces those that die, until SIGTERM or SIGINT.

    Returns the exit status. A worker that ends within seconds of its start would do so again: all end then. Must be
    called before anything has started a thread.
    """
    stopping = False
    children: dict[int, tuple[int, float]] = {}

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            os.kill(child, signal.SIGTERM)

    def start(number: int) -> None:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os._exit(work(number))
        children[child] = (number, time.monotonic())

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for number in range(count):
        start(number)
    worst = 0
    while children:
        child, status = os.wait()
        number, started = children.pop(child)
        code = os.waitstatus_to_exitcode(status)
        if stopping:
            worst = worst or abs(code)
        elif code == EXIT_SETTINGS or time.monotonic() - started < _QUICK_SECONDS:
            worst = abs(code) or 1
            stop()
        else:
            log.error("worker %d ended with %d and is started anew", number, code)
            start(number)
    return worst
