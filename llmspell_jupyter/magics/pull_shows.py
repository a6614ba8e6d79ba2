"""Which view shows which pull of a cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmspell_jupyter.runtime.runtime import PullPart
from llmspell_jupyter.runtime.views import PullView, PullViews
from llmspell_jupyter.types import PullPhase, PullProgress

#: What a pull that ended well leaves.
Line = Callable[[PullProgress], str]


@dataclass(slots=True)
class _Open:
    view: PullView
    line: Line
    last: PullProgress


class PullShows:
    """Opens a view for each pull and closes it with one line. Any thread may show a pull.

    Args:
        make: Makes the views; None shows nothing.
        is_plain: Whether outputs have to be the same in every run.
    """

    def __init__(self, make: PullViews | None, is_plain: Callable[[], bool]):
        self._make = make
        self._is_plain = is_plain
        self._open: dict[int, _Open] = {}
        self._closed: set[int] = set()
        self._line: Line = _complete

    @contextmanager
    def ending_with(self, line: Line) -> Iterator[None]:
        """A block whose pulls leave this line when they end well, not only that they are complete.

        Use on the main thread.
        """
        self._line = line
        try:
            yield
        finally:
            self._line = _complete

    def show(self, event: PullPart) -> None:
        """Take in a step of a pull."""
        if event.progress is None:
            self._close(event.pull)
        elif self._make is not None and event.pull not in self._closed:
            shown = self._open.get(event.pull)
            if shown is None:
                view = self._make(event.cancel, self._is_plain())
                shown = self._open[event.pull] = _Open(view, self._line, event.progress)
            shown.last = event.progress
            shown.view.update(event.progress)

    def _close(self, pull: int) -> None:
        # A script's last steps may be read after the end that its coroutine's end has shown.
        self._closed.add(pull)
        shown = self._open.pop(pull, None)
        if shown is None:
            return
        if shown.last.phase is PullPhase.COMPLETE:
            shown.view.end(shown.line(shown.last))
        else:
            shown.view.end(f"{shown.last.model} · stopped")


def _complete(last: PullProgress) -> str:
    return f"{last.model} · {last.phase}"
