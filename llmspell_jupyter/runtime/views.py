"""What shows the progress of a pull or a verification, as those who start one see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from llmspell_jupyter.types import PullProgress


class PullView(Protocol):
    """Shows one pull from its start to its end; any thread may call it."""

    def update(self, progress: PullProgress) -> None:
        """Show how far it is; may be called as often as there is news."""

    def end(self, line: str) -> None:
        """Show this plain line and nothing else; later calls change nothing."""


class PullViews(Protocol):
    """Makes the view of a pull that begins."""

    def __call__(self, on_cancel: Callable[[], None], render_plain: bool) -> PullView:
        """A view in the running cell.

        Args:
            on_cancel: Called at most once, from any thread, when the user wants the pull ended.
            render_plain: Show lines that are the same in every run, and no controls.
        """
