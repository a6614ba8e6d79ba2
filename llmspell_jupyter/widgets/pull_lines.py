"""The progress of a pull as printed lines, for terminals and for outputs that must not change."""

from __future__ import annotations

import threading

from llmspell_jupyter.types import PullPhase, PullProgress
from llmspell_jupyter.widgets import text


class PullLines:
    """A pull where nothing lives: a line for each phase, the same in every run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._over = False

    def update(self, progress: PullProgress) -> None:
        """Print the phase when it is new, and what the user should know."""
        name = text.shown(progress.model)
        if progress.phase not in (PullPhase.COMPLETE, PullPhase.FAILED, PullPhase.CANCELLED):
            self._say(f"{name} · {progress.phase}")
        if progress.note:
            self._say(f"{name} · {text.shown(progress.note)}")

    def end(self, line: str) -> None:
        """Print this line; nothing is printed afterwards."""
        self._say(text.shown(line, len(line)))
        self._over = True

    def _say(self, line: str) -> None:
        with self._lock:
            if not self._over and line not in self._said:
                self._said.add(line)
                print(line, flush=True)
