"""What the browser's buttons do, each on a thread of its own: none keeps the page waiting."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, Protocol

from llmspell_jupyter.runtime import sizes
from llmspell_jupyter.types import Progress, PullPhase, PullProgress, Ready
from llmspell_jupyter.widgets import text
from llmspell_jupyter.widgets.entries import Entry
from llmspell_jupyter.widgets.source import Source
from llmspell_jupyter.widgets.state import Activity, Kind, State


class Screen(Protocol):
    """What shows the state."""

    def changed(self, *, soon: bool = False) -> None:
        """Show what is new: now, or ``soon`` when ten times a second is enough."""

    def say(self, line: str) -> None:
        """Show a message."""

    def refresh(self, *, installed: bool) -> None:
        """Look again what runs and, if it may be other than before, what is installed."""


class Actions:
    """Pulls, loads, unloads and removes models.

    Args:
        source: The models.
        state: Changed under ``lock`` only.
        lock: Held for a moment at a time, never while anything is waited for.
        screen: Told of each change, without the lock.
    """

    def __init__(self, source: Source, state: State, lock: threading.RLock, screen: Screen):
        self._source = source
        self._state = state
        self._lock = lock
        self._screen = screen
        self._jobs: set[str] = set()

    def pull(self, entry: Entry) -> None:
        """Fetch a model."""
        self._begin("pull", entry, lambda activity: self._watch(activity, entry, entry.id))

    def follow(self, entry: Entry, job: str) -> None:
        """Watch a pull that runs already, once."""
        if job not in self._jobs:
            self._jobs.add(job)
            self._begin("pull", entry, lambda activity: self._watch(activity, entry, job=job))

    def load(self, entry: Entry) -> None:
        """Get a model ready."""
        self._begin("load", entry, lambda activity: self._load(activity, entry))

    def unload(self, entry: Entry) -> None:
        """End the processes that hold a model."""
        self._begin("unload", entry, lambda _: self._unload(entry))

    def remove(self, entry: Entry) -> None:
        """Delete a model."""
        self._begin("remove", entry, lambda _: self._remove(entry))

    def cancel(self, entry: Entry) -> None:
        """End what is under way with a model."""
        with self._lock:
            activity = self._state.activities.get(entry.key)
            if activity is None or activity.stop is None or activity.stopping:
                return
            activity.stopping = True
            stop = activity.stop
        spawn(stop)
        self._screen.changed()

    def detach(self) -> None:
        """Stop watching pulls, which go on; loads end when their model is ready."""
        with self._lock:
            watched = [each.detach for each in self._state.activities.values()]
        for each in watched:
            each()

    def _begin(self, kind: Kind, entry: Entry, work: Callable[[Activity], str]) -> None:
        activity = Activity(kind)
        with self._lock:
            if entry.key in self._state.activities:
                return
            self._state.activities[entry.key] = activity
        self._screen.changed()
        spawn(self._run, entry, activity, work)

    def _run(self, entry: Entry, activity: Activity, work: Callable[[Activity], str]) -> None:
        try:
            said, done = work(activity), True
        except Exception as error:
            # Whatever it is: nobody but the user could see it, and the cell is another's place.
            said, done = text.error(error), False
        with self._lock:
            del self._state.activities[entry.key]
        self._screen.say(said)
        # What failed has installed nothing. Its engine may be about to end: it is asked nothing
        # for which another would be started.
        self._screen.refresh(installed=done)

    def _watch(self, activity: Activity, entry: Entry, name: str = "", *, job: str = "") -> str:
        pull = self._source.follow(job) if job else self._source.pull(name)
        self._running(activity, pull.cancel, pull.detach)
        last = None
        for progress in pull:
            self._jobs.add(progress.job)
            self._step(activity, progress)
            last = progress
        if last is None or last.phase is not PullPhase.COMPLETE:
            return f"{entry.id} · stopped; what has come is kept for the next pull."
        count = last.metadata.get("bytes") or last.total
        return f"{last.model} · is here{f', {sizes.size(count)}' if count else ''}."

    def _load(self, activity: Activity, entry: Entry) -> str:
        work = self._source.load(entry.id)
        self._running(activity, work.cancel)
        notes: dict[str, None] = {}
        for part in work:
            if isinstance(part, Progress):
                self._step(activity, part)
                if part.note:
                    notes[part.note] = None
            elif isinstance(part, Ready):
                facts = [f"ready on {part.metadata.get('device', 'this machine')}", *notes]
                return f"{entry.id} · {'; '.join(facts)}."
        return f"{entry.id} · the load was given up."

    def _unload(self, entry: Entry) -> str:
        count = self._source.unload(entry.id)
        return f"{entry.id} · {'unloaded' if count else 'was not loaded'}."

    def _remove(self, entry: Entry) -> str:
        return f"{entry.id} · removed, {sizes.size(self._source.remove(entry.id))} are free."

    def _running(
        self,
        activity: Activity,
        stop: Callable[[], None],
        detach: Callable[[], None] = lambda: None,
    ) -> None:
        with self._lock:
            activity.stop, activity.detach = stop, detach
        self._screen.changed()

    def _step(self, activity: Activity, progress: PullProgress | Progress) -> None:
        with self._lock:
            before = activity.progress
            activity.progress = progress
        self._screen.changed(soon=before is not None and before.phase == progress.phase)


def spawn(work: Callable[..., None], *arguments: Any) -> None:
    """Run something beside the cell; what it shows stays with the cell that began it."""
    run = contextvars.copy_context().run
    threading.Thread(
        target=run, args=(work, *arguments), name="llmspell-browser", daemon=True
    ).start()
