"""Bytes per second: of one download, and of all downloads of this process together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# A bucket holds what this many seconds bring; a read is at most a quarter of it.
_SECONDS = 0.2
_LEAST = 1024


class Bucket:
    """Hands out bytes at a rate. Any thread may take.

    Args:
        rate: Bytes per second; 0 is no limit.
        clock: Seconds.
    """

    def __init__(self, rate: int = 0, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._rate = rate
        self._level = 0.0
        self._last = clock()

    def set(self, rate: int) -> None:
        """Change the rate from now on."""
        with self._lock:
            self._fill()
            self._rate = rate

    def most(self, wanted: int) -> int:
        """How much of this to take at a time so that the flow is even."""
        rate = self._rate
        return wanted if not rate else max(_LEAST, min(wanted, int(rate * _SECONDS / 4)))

    def take(self, count: int) -> float:
        """Take bytes, which may leave a debt; how many seconds to wait before the next ones."""
        with self._lock:
            if not self._rate:
                return 0.0
            self._fill()
            self._level -= count
            return max(0.0, -self._level / self._rate)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._rate * _SECONDS, self._level + (now - self._last) * self._rate)
        self._last = now


#: Of all downloads of this process; whoever starts one sets it as the configuration says.
EVERYBODY = Bucket()
