"""What slots are to a pool."""

from typing import Protocol


class Claim:
    """The right to have one connection to a hypervisor open."""

    __slots__ = ("hypervisor", "lost", "member")

    def __init__(self, hypervisor: str, member: str) -> None:
        self.hypervisor = hypervisor
        self.member = member
        """What it is called among the claims of all replicas."""
        self.lost = False
        """Whether it is somebody else's now: the connection is to be closed as soon as nobody uses it."""


class Slots(Protocol):
    """The slots of all hypervisors, as many as the cap of each."""

    async def claim(self, hypervisor: str, cap: int) -> Claim:
        """Claims a slot. Raises NoRoom while there is none."""
        ...

    async def give_back(self, claim: Claim) -> None:
        """The connection is closed, and its slot is free. Raises nothing: claims end by themselves."""
        ...

    def held(self, hypervisor: str) -> int:
        """How many slots of a hypervisor this replica has."""
        ...
