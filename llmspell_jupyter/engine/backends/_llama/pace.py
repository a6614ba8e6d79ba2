"""How much of a prompt is read at a time."""

from __future__ import annotations

# Beside answers, a step with a slice of a prompt takes about as long as a reader notices.
_BESIDE_SECONDS, _BESIDE_LEAST = 0.1, 16

# Alone, who comes in the middle waits for the end of a slice. Smaller ones are read more slowly:
# all weights are fetched for each.
_ALONE_SECONDS, _ALONE_LEAST = 0.5, 64

# How much the newest step counts.
_NEWEST = 0.5


class Pace:
    """Measures how fast prompts are read, and says how long a slice may be.

    Args:
        most: Tokens of a slice at most.
    """

    def __init__(self, most: int):
        self._most = most
        self._per_second: float | None = None

    def note(self, tokens: int, seconds: float) -> None:
        """Note a step that read a prompt.

        Args:
            tokens: Tokens that it computed in all.
            seconds: How long it took.
        """
        speed = tokens / max(seconds, 1e-6)
        if self._per_second is None:
            self._per_second = speed
        self._per_second += _NEWEST * (speed - self._per_second)

    def slice(self, *, beside: bool) -> int:
        """Tokens of the next slice.

        Args:
            beside: Whether others get a token of their answer in the same step.
        """
        seconds, least = (
            (_BESIDE_SECONDS, _BESIDE_LEAST) if beside else (_ALONE_SECONDS, _ALONE_LEAST)
        )
        wanted = least if self._per_second is None else int(self._per_second * seconds)
        return min(self._most, max(least, wanted))
