"""Which bytes of a file are there, and who fetches which of the rest."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Iterator

# A connection that has been at its part for longer gives its end away to an idle one.
_LATE_SECONDS = 2.0


class Ranges:
    """Bytes of a file that are there, as ranges from byte to byte that do not touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Bytes from ``start`` up to ``end`` are there, too."""
        if start >= end:
            return
        first = bisect.bisect_left(self._ends, start)
        last = bisect.bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([*zip(self._starts, self._ends, strict=True)])

    @property
    def total(self) -> int:
        """How many bytes are there."""
        return sum(self._ends) - sum(self._starts)

    @property
    def prefix(self) -> int:
        """How many are there without a gap from the beginning."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def gaps(self, size: int) -> Iterator[tuple[int, int]]:
        """What is missing of a file of this size."""
        at = 0
        for start, end in self:
            if start > at:
                yield at, min(start, size)
            at = max(at, end)
        if at < size:
            yield at, size


class Part:
    """A range that somebody is fetching.

    Attributes:
        at: Next byte that will be noted as being there.
        end: Where to stop; another connection may take over the end of a slow one.
        since: When somebody began.
    """

    def __init__(self, start: int, end: int, since: float):
        self.at = start
        self.end = end
        self.since = since


class Parts:
    """Hands out what is missing of a file. Its owner holds a lock around every call.

    Args:
        size: Of the file.
        there: Which bytes there are; the owner adds to it.
        part: Size of a part.
        least: A part that is shorter than twice this is not divided.
        clock: Seconds.
    """

    def __init__(
        self,
        size: int,
        there: Ranges,
        part: int,
        least: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._size = size
        self._there = there
        self._part = part
        self._least = least
        self._clock = clock
        self.open: list[Part] = []
        #: The server sends the whole file whatever it is asked for: one connection has it all.
        self.whole = False

    def take(self) -> Part | None:
        """Something to fetch, None when there is nothing to do or others do it."""
        if self.whole and self.open:
            return None
        taken = Ranges()
        for start, end in self._there:
            taken.add(start, end)
        for part in self.open:
            taken.add(part.at, part.end)
        for start, end in taken.gaps(self._size):
            if self.whole:
                return self._opened(0, self._size)
            return self._opened(start, min(end, start + self._part))
        return None if self.whole else self._divided()

    def leave(self, part: Part) -> None:
        """Somebody no longer fetches this."""
        self.open.remove(part)

    def _divided(self) -> Part | None:
        late = self._clock() - _LATE_SECONDS
        slow = [part for part in self.open if part.since < late]
        longest = max(slow, key=lambda part: part.end - part.at, default=None)
        if longest is None or longest.end - longest.at < 2 * self._least:
            return None
        middle, end = (longest.at + longest.end) // 2, longest.end
        longest.end = middle
        return self._opened(middle, end)

    def _opened(self, start: int, end: int) -> Part:
        self.open.append(Part(start, end, self._clock()))
        return self.open[-1]
