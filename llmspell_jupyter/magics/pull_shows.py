"""Which view shows which pull of a cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmspell_jupyter.runtime.runtime import PullPart
from llmspell_jupyter.runtime.views import PullView, PullViews
from llmspell_jupyter.types import PullPhase, PullProgress


class PullShows:
    """Opens a view for each pull and closes it with one line. Use on the main thread.

    Args:
        make: Makes the views; None shows nothing.
        is_plain: Whether outputs have to be the same in every run.
    """

    def __init__(self, make: PullViews | None, is_plain: Callable[[], bool]):
        self._make = make
        self._is_plain = is_plain
        self._open: dict[int, tuple[PullView, PullProgress]] = {}
        self._line: Callable[[PullProgress], str] | None = None

    @contextmanager
    def ending_with(self, line: Callable[[PullProgress], str]) -> Iterator[None]:
        """A block in which a pull that ends well leaves this line, not only that it is complete."""
        self._line = line
        try:
            yield
        finally:
            self._line = None

    def show(self, event: PullPart) -> None:
        """Take in a step of a pull."""
        if event.progress is None:
            self._close(event.pull)
        elif self._make is not None:
            view, _ = self._open.get(event.pull) or (
                self._make(event.cancel, self._is_plain()),
                None,
            )
            self._open[event.pull] = (view, event.progress)
            view.update(event.progress)

    def _close(self, pull: int) -> None:
        if pull not in self._open:
            return
        view, last = self._open.pop(pull)
        if last.phase is PullPhase.COMPLETE:
            view.end(self._line(last) if self._line else f"{last.model} · {last.phase}")
        else:
            view.end(f"{last.model} · stopped")
