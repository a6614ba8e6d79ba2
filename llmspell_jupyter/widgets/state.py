"""What the browser knows of each model: what runs, what is under way, what fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmspell_jupyter.types import Progress, PullProgress
from llmspell_jupyter.widgets.entries import Entry
from llmspell_jupyter.widgets.judgement import Judgement

Kind = Literal["pull", "load", "unload", "remove"]


@dataclass(slots=True)
class Activity:
    """Something under way with one model.

    Attributes:
        kind: What is done.
        progress: How far it is; None before its first word.
        stop: Ends it; None while that cannot be.
        stopping: It was told to end.
        detach: Stops watching it without ending it.
    """

    kind: Kind
    progress: PullProgress | Progress | None = None
    stop: Callable[[], None] | None = None
    stopping: bool = False
    detach: Callable[[], None] = lambda: None


@dataclass(slots=True)
class State:
    """All of it; whoever reads or changes it holds the browser's lock.

    Attributes:
        entries: The models by key.
        loaded: State of the process of each model that has one, by its name in lower case.
        activities: What is under way, by key.
        fits: Whether a model fits, by key.
        asking: Key of the model of which it was asked whether to remove it.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)
    activities: dict[str, Activity] = field(default_factory=dict)
    fits: dict[str, Judgement] = field(default_factory=dict)
    asking: str | None = None

    def process(self, entry: Entry) -> str | None:
        """State of the process that holds a model; None when none does."""
        found = (self.loaded[name] for name in entry.names if name in self.loaded)
        return next(found, None) if entry.installed else None

    def word(self, entry: Entry) -> str:
        """Where a model stands, in one word."""
        activity = self.activities.get(entry.key)
        if activity is not None:
            return "stopping" if activity.stopping else _DOING[activity.kind]
        process = self.process(entry)
        if process is not None:
            return "running" if process == "ready" else process
        return "installed" if entry.installed else "available"

    def shows(self, entry: Entry, which: str) -> bool:
        """Whether a model is among ``all``, ``installed``, ``available`` or ``running``."""
        if which == "installed":
            return entry.installed
        if which == "available":
            return not entry.installed
        if which == "running":
            return entry.key in self.activities or self.process(entry) is not None
        return True


_DOING: dict[Kind, str] = {
    "pull": "pulling",
    "load": "loading",
    "unload": "unloading",
    "remove": "removing",
}
