"""Which models leave when memory is short, and which because nobody has used them for long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model.

    Attributes:
        id: What it is called in a plan; unique.
        size: Bytes that it gives back when it leaves.
        idle_since: When its last request ended or its load did, in seconds of any one clock; None
            while it loads or works.
        pinned: It stays, however long it is idle.
        ttl: Seconds of idleness after which it leaves; 0 is never.
    """

    id: str
    size: int
    idle_since: float | None
    pinned: bool = False
    ttl: float = 0.0

    @property
    def can_leave(self) -> bool:
        """Whether it is idle and not pinned."""
        return self.idle_since is not None and not self.pinned

    @property
    def leaves_at(self) -> float | None:
        """When its time is over; None when it has none or is in use."""
        if self.idle_since is None or self.pinned or not self.ttl:
            return None
        return self.idle_since + self.ttl


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do so that a model can be loaded.

    Attributes:
        evict: Models that leave first, in this order.
        fits: Whether there is room then.
        short_by: Bytes that would still be missing; 0 when it fits.
    """

    evict: tuple[str, ...]
    fits: bool
    short_by: int = 0


def plan(residents: Iterable[Resident], need: int, free: int, most: int | None = None) -> Plan:
    """Make room: those that were used least recently leave, and no more than have to.

    A model that would not fit even then drives nobody out.

    Args:
        residents: The loaded models.
        need: Bytes that the new one takes.
        free: Bytes that there are without anyone leaving.
        most: Bytes that a single model may take; None is no bound.
    """
    if most is not None and need > most:
        return Plan((), fits=False, short_by=need - most)
    evict = []
    for each in _least_recent(residents):
        if need <= free:
            break
        evict.append(each.id)
        free += each.size
    if need > free:
        return Plan((), fits=False, short_by=need - free)
    return Plan(tuple(evict), fits=True)


def expired(residents: Iterable[Resident], now: float) -> tuple[str, ...]:
    """Models whose time is over, the longest idle first.

    Args:
        residents: The loaded models.
        now: By the clock of ``idle_since``.
    """
    return tuple(
        each.id
        for each in _least_recent(residents)
        if each.leaves_at is not None and each.leaves_at <= now
    )


def next_expiry(residents: Iterable[Resident]) -> float | None:
    """When the next model's time is over; None when none's ever is."""
    times = (each.leaves_at for each in residents)
    return min((time for time in times if time is not None), default=None)


def _least_recent(residents: Iterable[Resident]) -> list[Resident]:
    idle = [each for each in residents if each.can_leave]
    return sorted(idle, key=lambda each: (each.idle_since or 0.0, each.id))
