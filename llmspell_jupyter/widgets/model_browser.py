"""The model browser: find, judge, pull, load and remove models without leaving the notebook."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets
from IPython.display import display

from llmspell_jupyter.types import AvailableModel, ModelInfo
from llmspell_jupyter.widgets import comms, entries, filtering, judgement, looks, text
from llmspell_jupyter.widgets.actions import Actions, spawn
from llmspell_jupyter.widgets.controls import Controls
from llmspell_jupyter.widgets.row import Parts, Row
from llmspell_jupyter.widgets.source import Source
from llmspell_jupyter.widgets.state import State

#: Rows on a page.
ROWS = 12

# Rows that it opens with: a page draws the rest once it shows these.
_FIRST_ROWS = 4

_REDRAW_SECONDS = 0.1

# What was seen so long ago is looked at again when the user does something.
_STALE_SECONDS = 3.0

# How long a press of Remove waits for the second one.
_ASKING_SECONDS = 6.0


class ModelBrowser:
    """Controls and rows that are used again and again. Any thread may call it.

    It keeps no timer: the engine is asked when the browser opens, when the user does something,
    and while something runs. One that has ended stays away until it is needed. Pulls go on when
    the browser is closed.

    Args:
        source: The models.
    """

    def __init__(self, source: Source):
        self._source = source
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._state = State()
        self._actions = Actions(source, self._state, self._lock, self)
        self._installed: list[ModelInfo] = []
        self._offers: list[AvailableModel] = []
        self._order: list[str] = []
        self._asked = self._looked = self._drawn = 0.0
        self._ready = False
        self._closed = False
        self._parts = Parts()
        self._rows: list[Row] = []
        self._controls = Controls(
            choose=self._choose,
            turn=self._paint,
            search=self._search,
            refresh=self._reload,
            close=self.close,
        )
        self._heading = self._parts.heading()
        self._box = ipywidgets.VBox()
        self._make_rows(_FIRST_ROWS)
        self._handle: Any = None

    def show(self) -> None:
        """Put it into the running cell, and begin to look for models."""
        self._try(lambda: self._take(installed=self._source.here(), offers=self._source.known()))
        view = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        bundle = {
            "application/vnd.jupyter.widget-view+json": view,
            "text/plain": self.table(fits=False),
        }
        self._handle = display(bundle, raw=True, display_id=True)
        spawn(self._complete)
        spawn(self._look)
        spawn(self._judge)

    def table(self, *, fits: bool) -> str:
        """All models as plain text."""
        with self._lock:
            keys = filtering.selected(self._state, filtering.Choice())
            found = [looks.look(self._state, self._state.entries[key]) for key in keys]
        return looks.table(found, fits=fits)

    def close(self, line: str = "The model browser is closed; %model_browser opens it.") -> None:
        """Give way to one line of plain text; what it began goes on."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._wake.notify_all()
        self._actions.detach()
        with self._lock:
            if self._handle is not None:
                self._handle.update({"text/plain": line}, raw=True)
            comms.close(self._box)
            self._parts.close()

    # What actions tell it

    def changed(self, *, soon: bool = False) -> None:
        """Show what is new."""
        if not soon or time.monotonic() - self._drawn > _REDRAW_SECONDS:
            self._paint()

    def say(self, line: str) -> None:
        """Show a message below the rows."""
        with self._lock:
            if line and not self._closed:
                self._controls.say(textwrap.wrap(text.shown(line, 330), 115))

    def refresh(self, *, installed: bool = True) -> None:
        """Look again what is installed and what runs; rows keep their places.

        No engine is started for it.
        """
        self._looked = time.monotonic()
        if installed:
            self._try(lambda: self._take(installed=self._source.seen()))
        self._try(self._see)
        self._paint()

    # What the user does

    def _choose(self) -> None:
        with self._lock:
            self._state.asking = None
            self._order = filtering.selected(self._state, self._controls.choice)
            self._controls.page_to(1, self._pages())
            self._paint()
        if time.monotonic() - self._looked > _STALE_SECONDS:
            spawn(self.refresh)

    def _reload(self) -> None:
        with self._lock:
            self._state.fits.clear()
        spawn(self._look)

    def _search(self, words: str) -> None:
        self.say(f"Asking the hub for {words!r} ..." if words else "")
        spawn(self._find, words)

    def _press(self, row: Row, what: str) -> None:
        with self._lock:
            entry = self._state.entries.get(row.key or "")
            if entry is None:
                return
            sure = self._state.asking == entry.key
            sure = sure and time.monotonic() - self._asked < _ASKING_SECONDS
            self._state.asking = None
            verb = looks.look(self._state, entry).verb
        if what == "copy":
            self._controls.copy(text.shown(entry.id))
        elif what == "act":
            act = self._actions
            {"Pull": act.pull, "Cancel": act.cancel, "Load": act.load, "Unload": act.unload}[verb](
                entry
            )
        elif sure:
            self._actions.remove(entry)
        else:
            with self._lock:
                self._state.asking, self._asked = entry.key, time.monotonic()
        self._paint()

    # Rows

    def _complete(self) -> None:
        with self._lock:
            if not self._closed:
                self._make_rows(ROWS)
                self._paint()

    def _make_rows(self, count: int) -> None:
        while len(self._rows) < count:
            self._rows.append(Row(self._parts, self._press))
        rows = (row.box for row in self._rows)
        self._box.children = (self._controls.top, self._heading, *rows, self._controls.foot)

    # What is looked up, on threads of its own

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._try(lambda: self._take(installed=self._source.installed()))
        self.refresh(installed=False)
        with self._lock:
            self._ready = True
            self._wake.notify_all()
        self._find("")

    def _see(self) -> None:
        """Which models have a process, and which are being pulled."""
        loaded, pulls = self._source.loaded(), self._source.pulls()
        with self._lock:
            self._state.loaded = loaded
            names = {name: each for each in self._state.entries.values() for name in each.names}
            found = [
                (names.get(each["model"].lower()) or entries.of_job(each["model"]), each["id"])
                for each in pulls
            ]
            for entry, _ in found:
                self._state.entries.setdefault(entry.key, entry)
                if entry.key not in self._order:
                    self._order.insert(0, entry.key)
        for entry, job in found:
            self._actions.follow(entry, job)

    def _find(self, words: str) -> None:
        def find() -> None:
            found = self._source.available(words)
            known = {each.id.lower(): each for each in self._offers if words}
            known |= {each.id.lower(): each for each in found.models}
            self._take(offers=known.values())
            # Only who asked is told that a server is not there; the catalog needs none.
            if words:
                self.say(" ".join(found.notes) or f"{len(found.models)} models are found.")

        self._try(find)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # Whatever it is: a thread has nobody else to tell.
            self.say(text.error(error))

    def _take(
        self,
        *,
        installed: Iterable[ModelInfo] | None = None,
        offers: Iterable[AvailableModel] | None = None,
    ) -> None:
        with self._lock:
            if installed is not None:
                self._installed = list(installed)
            if offers is not None:
                self._offers = list(offers)
            found = entries.merged(self._installed, self._offers)
            before = self._state.entries
            ghosts = {key: before[key] for key in self._state.activities if key in before}
            self._state.entries = ghosts | {each.key: each for each in found}
            wanted = filtering.selected(self._state, self._controls.choice)
            kept = [key for key in self._order if key in self._state.entries]
            # Rows keep their places: a button must not move away under the pointer.
            new = [key for key in wanted if key not in before]
            self._order = [*kept, *new] if before and self._ready else wanted
            self._paint()

    def _judge(self) -> None:
        """Whether the models on the page fit, one after the other."""
        while True:
            with self._lock:
                while not self._closed and (self._unjudged() is None or not self._ready):
                    self._wake.wait()
                entry = self._unjudged()
                if self._closed or entry is None:
                    return
            try:
                found = self._source.fit(entry.id)
            except Exception as error:
                found = judgement.unknown(error)
            with self._lock:
                self._state.fits[entry.key] = found
            self._paint()

    def _unjudged(self) -> entries.Entry | None:
        keys = [row.key for row in self._rows if row.key and row.key not in self._state.fits]
        return next((self._state.entries[key] for key in keys if key in self._state.entries), None)

    # Drawing

    def _pages(self) -> int:
        return max(1, -(-len(self._order) // ROWS))

    def _paint(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._drawn = time.monotonic()
            self._controls.limit(self._pages())
            first = (self._controls.page - 1) * ROWS
            keys = self._order[first : first + ROWS]
            for number, row in enumerate(self._rows):
                entry = self._state.entries.get(keys[number]) if number < len(keys) else None
                if entry is None:
                    row.clear()
                else:
                    row.show(entry.key, looks.look(self._state, entry))
            # Last: whoever reads the count has the rows before them.
            self._controls.count(self._pages(), len(self._order))
            self._wake.notify_all()
