"""Counts that a store keeps of what became of sessions, for whoever measures."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What happened in this process since it began, and how the last sweep went. Times are in ms."""

    created: int = 0
    expired: int = 0
    ended: int = 0
    live: int = 0
    """The sessions in the store, those of other processes included; not yet swept ones too."""
    sweep_duration: float = 0
    """How long the last sweep took, the pauses included in which calls had their turn."""
    sweep_lag: float = 0
    """By how much the session that was most overdue had passed its deadline when the last sweep buried it."""
