"""P1 against a model: any sequence of what can happen to a pool, found and shrunk by hypothesis. On virtual time."""

import asyncio

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, integers, sampled_from
from support.things import Maker, Thing, conserved, quiet
from support.virtual_time import VirtualTimeLoop

from virtlease_pool.core import Loan, Mode, Policy, Pool

SIZE = 3


class PoolMachine(RuleBasedStateMachine):
    """Callers come, wait, are cancelled, get connections and give them back; meanwhile operators and luck do theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.maker = Maker(open_seconds=0.5, close_seconds=0.5)
        policy = Policy(max_size=SIZE, max_usage=4, check_after=3, idle_ttl=20, min_idle=1, retry_first=0.1)
        self.pool: Pool[Thing] = self.loop.run_until_complete(self._make(policy))
        self.callers: list[asyncio.Task[Loan[Thing]]] = []

    async def _make(self, policy: Policy) -> Pool[Thing]:
        return Pool("p", self.maker, policy)

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(timeout=sampled_from([0.0, 0.3, 5.0, 100.0]))
    def come(self, timeout: float) -> None:
        self.callers.append(self.loop.create_task(self.pool.acquire(timeout)))

    @rule(seconds=sampled_from([0, 0, 0.1, 1, 4, 30]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @precondition(lambda self: self.callers)
    @rule(which=integers(0, 100))
    def cancel(self, which: int) -> None:
        caller = self.callers[which % len(self.callers)]
        if not caller.done():
            caller.cancel()

    @rule(discard=booleans())
    def give_back(self, discard: bool) -> None:
        for caller in self.callers:
            if caller.done() and not caller.cancelled() and caller.exception() is None:
                self.callers.remove(caller)
                caller.result().give_back("broken" if discard else "")
                return

    @rule(works=booleans())
    def luck(self, works: bool) -> None:
        self.maker.fail = lambda: None if works else OSError("no luck")

    @rule(act=sampled_from(["pause", "resume", "resume", "drain", "recycle", "trip", "recover", "sweep"]))
    def operate(self, act: str) -> None:
        if act == "trip":
            self.pool.trip(OSError("tripped"))
        else:
            getattr(self.pool, act)()

    @precondition(lambda self: self.maker.alive)
    @rule(which=integers(0, 100))
    def die(self, which: int) -> None:
        alive = [thing for thing in self.maker.things if thing.open]
        alive[which % len(alive)].works = False

    @invariant()
    def conserved(self) -> None:
        conserved(self.pool, self.maker, SIZE)
        stats = self.pool.stats()
        came = stats.at_once + stats.waited + stats.timeouts + stats.refused + stats.abandoned + stats.waiting
        assert stats.requested == came

    @invariant()
    def nobody_waits_beside_a_free_connection(self) -> None:
        stats = self.pool.stats()
        if stats.mode is Mode.ACTIVE and not stats.failing and stats.waiting > stats.reserved:
            assert stats.idle == 0

    def teardown(self) -> None:
        for caller in self.callers:
            caller.cancel()
        self.pass_time(0)
        for caller in self.callers:
            if not caller.cancelled() and caller.exception() is None:
                caller.result().give_back()
        self.pool.resume()
        self.loop.run_until_complete(quiet(self.pool, self.maker, SIZE))
        self.loop.close()


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
