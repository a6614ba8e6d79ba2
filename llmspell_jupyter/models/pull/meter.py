"""What a pull reports: bytes that are safe, how fast, how long still."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from llmspell_jupyter.types import FileProgress, PullPhase, PullProgress

_WINDOW_SECONDS = 5.0
_EVERY_SECONDS = 0.1


class Meter:
    """Reports how far a pull is, a few times a second. For one thread.

    Args:
        model: Id that the model will have.
        report: Called with each report.
        clock: Seconds.
    """

    def __init__(
        self,
        model: str,
        report: Callable[[PullProgress], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.model = model
        self._report = report
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._points: deque[tuple[float, int]] = deque()
        self._last: tuple[PullPhase, str] | None = None
        self._last_at = 0.0

    def files(self, sizes: Sequence[tuple[str, int]]) -> None:
        """The files that will come, with their sizes."""
        self._sizes = dict(sizes)
        self._done = dict.fromkeys(self._sizes, 0)

    def show(self, phase: PullPhase, done: dict[str, int], note: str = "") -> None:
        """Report, unless nothing is new or the last report was a moment ago.

        Args:
            phase: Where the pull stands.
            done: Bytes of files that are on disk; what was reported once is never taken back.
            note: What the user should know.
        """
        now = self._clock()
        changed = (phase, note) != self._last
        if not changed and now - self._last_at < _EVERY_SECONDS:
            return
        for path, count in done.items():
            self._done[path] = max(self._done.get(path, 0), min(count, self._sizes[path]))
        total = sum(self._done.values())
        if not self._points or now > self._points[-1][0]:
            self._points.append((now, total))
        while len(self._points) > 2 and self._points[0][0] < now - _WINDOW_SECONDS:
            self._points.popleft()
        self._last, self._last_at = (phase, note), now
        self._report(self._progress(phase, note))

    def complete(self, metadata: dict[str, Any], note: str) -> PullProgress:
        """The last report."""
        self._done = dict(self._sizes)
        progress = self._progress(PullPhase.COMPLETE, note, metadata)
        self._report(progress)
        return progress

    def _progress(
        self, phase: PullPhase, note: str, metadata: dict[str, Any] | None = None
    ) -> PullProgress:
        done = sum(self._done.values())
        total = sum(self._sizes.values()) if self._sizes else None
        rate = self._rate() if phase == PullPhase.DOWNLOADING else None
        left = (total - done) / rate if rate and total is not None else None
        return PullProgress(
            model=self.model,
            phase=phase,
            done=done,
            total=total,
            bytes_per_second=rate,
            seconds_left=left,
            files=tuple(
                FileProgress(path, self._done[path], size) for path, size in self._sizes.items()
            ),
            note=note,
            metadata=metadata or {},
        )

    def _rate(self) -> float | None:
        if len(self._points) < 2:
            return None
        (begun, first), (now, last) = self._points[0], self._points[-1]
        return (last - first) / (now - begun) if now > begun else None
