"""The bar of a pull: how far it is and a Cancel button; one plain line when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets
from IPython.display import display

from llmspell_jupyter.types import PullPhase, PullProgress
from llmspell_jupyter.widgets import comms, text

# Ten times a second looks alive and costs little.
_REDRAW_SECONDS = 0.1

_WHOLE = 1000


class PullBar:
    """A bar in the running cell. Any thread may call it.

    When it ends, the widget is closed and its place on the page holds one line of plain text: a
    notebook that is saved or opened again shows that line and no widget without a kernel.

    Args:
        on_cancel: Called once, on the thread that handles the page, when Cancel is pressed.
        title: Shown until a progress names the model.
    """

    def __init__(self, on_cancel: Callable[[], None], title: str = ""):
        self._on_cancel = on_cancel
        self._lock = threading.Lock()
        self._phase: PullPhase | None = None
        self._drawn = 0.0
        self._over = False
        self._cancelled = False
        self._title = ipywidgets.Label(text.shown(title))
        self._bar = ipywidgets.IntProgress(0, 0, _WHOLE, layout={"width": "220px"})
        self._facts = ipywidgets.Label(str(PullPhase.STARTING))
        self._cancel = ipywidgets.Button(
            description="Cancel",
            tooltip="Stop this pull; what has come is kept for the next",
            layout={"width": "90px"},
        )
        self._cancel.on_click(self._pressed)
        comms.answer_at_once(self._cancel)
        self._box = ipywidgets.HBox(
            [self._title, self._bar, self._cancel, self._facts],
            layout={"flex_flow": "row wrap", "align_items": "center", "grid_gap": "0 8px"},
        )
        twin = f"{self._title.value or 'A pull'} · started; %llmspell_status shows how far it is"
        bundle = _view(self._box) | {"text/plain": twin}
        self._handle = display(bundle, raw=True, display_id=True)

    def update(self, progress: PullProgress) -> None:
        """Show how far it is, ten times a second at most; a new phase is shown at once."""
        with self._lock:
            now = time.monotonic()
            if progress.phase is self._phase and now - self._drawn < _REDRAW_SECONDS:
                return
            if not self._over:
                self._phase, self._drawn = progress.phase, now
                self._draw(progress)

    def end(self, line: str) -> None:
        """Give way to one line of plain text."""
        with self._lock:
            if self._over:
                return
            self._over = True
            # The line first: a page whose widget is gone would show an error in between.
            self._handle.update({"text/plain": text.shown(line, len(line))}, raw=True)
            comms.close(self._box)

    def _draw(self, progress: PullProgress) -> None:
        self._title.value = text.shown(progress.model)
        self._facts.value = text.progress(progress)
        if progress.total:
            self._bar.value = min(_WHOLE, progress.done * _WHOLE // progress.total)

    def _pressed(self, button: Any) -> None:
        with self._lock:
            if self._over or self._cancelled:
                return
            self._cancelled = True
            self._cancel.disabled = True
            self._cancel.description = "Cancelling"
        # Outside the lock: it may take a while, and end the bar.
        self._on_cancel()


def _view(widget: ipywidgets.Widget) -> dict[str, Any]:
    model: dict[str, Any] = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": model}
