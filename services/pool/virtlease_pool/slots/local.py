"""The slots of a replica that has no others: the pool's own size is the cap."""

from collections import Counter

from virtlease_pool.slots.claim import Claim


class LocalSlots:
    """See `claim.Slots`."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    async def claim(self, hypervisor: str, _cap: int) -> Claim:
        self._held[hypervisor] += 1
        return Claim(hypervisor, "")

    async def give_back(self, claim: Claim) -> None:
        self._held[claim.hypervisor] -= 1

    def held(self, hypervisor: str) -> int:
        return self._held[hypervisor]
