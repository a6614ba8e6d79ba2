"""How far a pull of Ollama's is, from the lines that its server sends."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from llmspell_jupyter.types import FileProgress, PullPhase, PullProgress

# Speed is that of the last seconds.
_SPEED_SECONDS = 5.0
_ORDER = (PullPhase.STARTING, PullPhase.DOWNLOADING, PullPhase.VERIFYING, PullPhase.COMPLETE)


class Course:
    """The course of one pull.

    A layer that is fetched again counts only once it is further than before, so that what is
    done never shrinks; the total is that of the layers that the server has spoken of.

    Args:
        name: The model, as Ollama names it.
    """

    def __init__(self, name: str):
        self.note = ""
        self._name = name
        self._phase = PullPhase.STARTING
        self._began = time.monotonic()
        self._done: dict[str, int] = {}
        self._total: dict[str, int | None] = {}
        self._present: dict[str, int] = {}
        self._said = ""
        self._past: deque[tuple[float, int]] = deque([(self._began, 0)])

    @property
    def complete(self) -> bool:
        """Whether the server has said that all is there."""
        return self._phase is PullPhase.COMPLETE

    def add(self, line: dict[str, Any]) -> bool:
        """Take a line of the server's in; True when the phase has changed."""
        status, digest = str(line.get("status") or ""), str(line.get("digest") or "")
        before = self._phase
        self._said = ""
        if digest:
            self._layer(digest, line.get("total"), line.get("completed"))
            self._turn(PullPhase.DOWNLOADING)
        elif status == "success":
            self._turn(PullPhase.COMPLETE)
        elif status.startswith(("verifying", "writing", "removing")):
            self._turn(PullPhase.VERIFYING)
        return self._phase is not before

    def silent(self, url: str) -> PullProgress:
        """Where it stands while the server says nothing."""
        self._said = f"Ollama at {url} is silent; it may be checking a large file."
        return self.now()

    def now(self) -> PullProgress:
        """Where it stands."""
        done = sum(self._done.values())
        totals = [each for each in self._total.values() if each is not None]
        total = sum(totals) if totals and len(totals) == len(self._total) else None
        speed = self._speed(done)
        left = (total - done) / speed if total is not None and speed else None
        return PullProgress(
            model=self._name,
            phase=self._phase,
            done=done,
            total=total,
            bytes_per_second=speed,
            seconds_left=0.0 if self.complete else left,
            files=tuple(
                FileProgress(digest, count, self._total[digest])
                for digest, count in self._done.items()
            ),
            note=self._said or self.note,
            metadata=self._facts(done) if self.complete else {},
        )

    def _layer(self, digest: str, total: Any, completed: Any) -> None:
        known = isinstance(total, int) and total >= 0
        if known or digest not in self._total:
            self._total[digest] = max(total, self._done.get(digest, 0)) if known else None
        count = completed if isinstance(completed, int) and completed > 0 else 0
        if known:
            count = min(count, total)
        if digest not in self._done and count:
            # What the first line of a layer counts was there before.
            self._present[digest] = count
        self._done[digest] = max(self._done.get(digest, 0), count)

    def _turn(self, phase: PullPhase) -> None:
        if _ORDER.index(phase) > _ORDER.index(self._phase):
            self._phase = phase

    def _speed(self, done: int) -> float | None:
        now = time.monotonic()
        fetched = done - sum(self._present.values())
        self._past.append((now, fetched))
        while len(self._past) > 2 and now - self._past[0][0] > _SPEED_SECONDS:
            self._past.popleft()
        since, before = self._past[0]
        return (fetched - before) / (now - since) if now > since and fetched > before else None

    def _facts(self, done: int) -> dict[str, Any]:
        return {
            "backend": "ollama",
            "repository": None,
            "revision": None,
            "path": None,
            "files": len(self._done),
            "bytes": done,
            "downloaded": done - sum(self._present.values()),
            "seconds": round(time.monotonic() - self._began, 3),
        }
