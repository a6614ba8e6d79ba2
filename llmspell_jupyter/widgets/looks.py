"""What a row of the browser shows, as plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmspell_jupyter.runtime import sizes
from llmspell_jupyter.types import Progress, PullProgress
from llmspell_jupyter.widgets import text
from llmspell_jupyter.widgets.entries import Entry
from llmspell_jupyter.widgets.judgement import Judgement
from llmspell_jupyter.widgets.state import Activity, State

Verb = Literal["Pull", "Cancel", "Load", "Unload"]

_WHOLE = 1000


@dataclass(frozen=True, slots=True)
class Look:
    """A row.

    Attributes:
        hint: More about the model, for whoever points at its name.
        state: One word, or how far it is.
        share: Thousandths that are done; None without a bar.
        verb: What the first button does.
        able: Whether it can be pressed.
        removable: Whether Remove can be pressed.
        asking: Whether the next press of it removes.
    """

    name: str
    hint: str
    size: str
    quantization: str
    fit: Judgement | None
    license: str
    state: str
    share: int | None
    verb: Verb
    able: bool
    removable: bool
    asking: bool


def look(state: State, entry: Entry) -> Look:
    """A model as a row."""
    activity = state.activities.get(entry.key)
    verb = _verb(state, entry, activity)
    return Look(
        name=text.shown(entry.id),
        hint=text.shown(" · ".join(filter(None, (entry.id, entry.title, _origin(entry))))),
        size=sizes.size(entry.size_bytes) if entry.size_bytes else "-",
        quantization=text.shown(entry.quantization or "-", 12),
        fit=state.fits.get(entry.key),
        license=text.shown(entry.license or "-", 40),
        state=_words(state, entry, activity),
        share=_share(activity),
        verb=verb,
        able=_is_able(verb, entry, activity),
        removable=entry.removable and activity is None,
        asking=state.asking == entry.key,
    )


def table(looks: list[Look], *, fits: bool) -> str:
    """Rows as a table of plain text; without fits it is the same on every machine."""
    heads = ["MODEL", "SIZE", "QUANTIZATION", "FIT", "LICENCE", "STATE"]
    rows = [heads]
    rows += [
        [
            *(each.name, each.size, each.quantization),
            *(each.fit.words if each.fit else "-", each.license, each.state),
        ]
        for each in looks
    ]
    if not fits:
        rows = [[cell for number, cell in enumerate(row) if number != 3] for row in rows]
    return sizes.table([tuple(row) for row in rows])


def _origin(entry: Entry) -> str:
    wall = ", gated: its owner wants a token and an accepted licence" if entry.gated else ""
    return f"{'in' if entry.installed else 'from'} {entry.origin}{wall}"


def _words(state: State, entry: Entry, activity: Activity | None) -> str:
    word = state.word(entry)
    if activity is None or activity.stopping:
        return word
    progress = activity.progress
    if isinstance(progress, PullProgress):
        note = f" · {text.shown(progress.note, 60)}" if progress.note else ""
        return text.progress_briefly(progress) + note
    if progress is not None and progress.percent is not None:
        return f"{word} {progress.percent} %"
    return word


def _share(activity: Activity | None) -> int | None:
    progress = activity.progress if activity else None
    if activity is None or activity.kind not in ("pull", "load"):
        return None
    if isinstance(progress, PullProgress | Progress) and progress.total:
        return min(_WHOLE, progress.done * _WHOLE // progress.total)
    return 0


def _verb(state: State, entry: Entry, activity: Activity | None) -> Verb:
    if activity is not None and activity.kind in ("pull", "load"):
        return "Cancel"
    if not entry.installed:
        return "Pull"
    return "Load" if state.process(entry) is None else "Unload"


def _is_able(verb: Verb, entry: Entry, activity: Activity | None) -> bool:
    if activity is not None:
        return activity.stop is not None and not activity.stopping
    return verb != "Load" or entry.loadable
