"""How many threads compute a batch of several tokens."""

from __future__ import annotations

from collections import deque
from statistics import fmean, median

# Steps that are held against each other, and those that say what is usual.
_TRIAL, _USUAL = 3, 16

# Steps until the other number is tried: at first, and at most.
_SOON, _SELDOM = 4, 128

# How much faster the other one has to be, and how much slower than usual is worth a trial.
_CLEARLY, _SLOWLY = 0.9, 1.5


class Crew:
    """Takes all cores or leaves one free, whichever was faster of late.

    On a quiet machine more threads are faster. Beside another busy program they wait for each
    other, and are far slower than fewer.

    Args:
        few: Threads that leave a core free.
        many: Threads for all cores.
    """

    def __init__(self, few: int, many: int):
        self._numbers = [many, few]
        self._latest: deque[float] = deque(maxlen=_USUAL)
        self._trial: list[float] = []
        self._pause = self._left = _SOON

    @property
    def threads(self) -> int:
        """Threads for the next step."""
        return self._numbers[0 if self._left else 1]

    def note(self, tokens: int, seconds: float) -> None:
        """Note how long a step took.

        Args:
            tokens: Tokens that it computed.
            seconds: Its time.
        """
        if self._left:
            self._latest.append(seconds / tokens)
            self._left = 0 if self._has_slowed() else self._left - 1
            return
        self._trial.append(seconds / tokens)
        if len(self._trial) == _TRIAL:
            self._judge()

    def _has_slowed(self) -> bool:
        usual = median(self._latest)
        return len(self._latest) == _USUAL and min(self._newest()) > _SLOWLY * usual

    def _newest(self) -> list[float]:
        return list(self._latest)[-_TRIAL:]

    def _judge(self) -> None:
        if fmean(self._trial) < _CLEARLY * fmean(self._newest()):
            self._numbers.reverse()
            self._pause = _SOON
        else:
            self._pause = min(2 * self._pause, _SELDOM)
        # What is usual is learnt anew: it may have changed with the machine.
        self._latest.clear()
        self._trial.clear()
        self._left = self._pause
