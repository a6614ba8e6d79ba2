"""The live line: what a model is doing while a cell waits for it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from IPython.display import DisplayHandle, display

from llmspell_jupyter.config.escaping import printable, printable_lines
from llmspell_jupyter.config.loaded import Loaded
from llmspell_jupyter.engine.client import Part
from llmspell_jupyter.runtime.runtime import AnswerPart
from llmspell_jupyter.types import Chunk, Completion, Phase, Progress

# Ten times a second looks alive and costs little.
_REDRAW_SECONDS = 0.1

# What is shown of a long answer while it runs; the whole of it is in the result.
_SHOWN_CHARACTERS = 4_000


@dataclass(slots=True)
class _State:
    model: str
    progress: Progress = field(default_factory=lambda: Progress(Phase.QUEUED))
    tokens: int = 0
    first_token: float = 0.0
    text: str = ""

    def add(self, part: Part) -> None:
        if isinstance(part, Progress):
            self.progress = part
        if not isinstance(part, Chunk):
            return
        if not self.tokens:
            self.first_token = time.monotonic()
            self.progress = Progress(Phase.ANSWERING)
        self.tokens = part.tokens
        self.text = (self.text + part.text)[-_SHOWN_CHARACTERS:]

    def draw(self) -> str:
        head = f"{self.model} · {self._phase()}"
        return f"{head}\n{printable_lines(self.text)}" if self.text else head

    def _phase(self) -> str:
        progress = self.progress
        if progress.phase is Phase.QUEUED:
            return f"queued, {progress.done} ahead" if progress.done else "queued"
        if progress.phase is Phase.LOADING and progress.percent is not None:
            return f"{progress.phase}, {progress.percent} %"
        if progress.phase is Phase.READING and progress.total:
            return f"{progress.phase}, {progress.done} of {progress.total} tokens"
        if progress.phase is Phase.ANSWERING:
            seconds = time.monotonic() - self.first_token
            speed = f" · {(self.tokens - 1) / seconds:.0f} tokens/s" if seconds > 0.2 else ""
            unit = "token" if self.tokens == 1 else "tokens"
            return f"{progress.phase} · {self.tokens} {unit}{speed}"
        return str(progress.phase)


class LiveLine:
    """Shows running answers in one display of the cell, and empties it when they are over.

    What stays are notes: on answers that a limit ended, so that none is cut without a word, and
    on what the user should know at once, such as a device that is not the one asked for. The
    latter are printed where no live line is wanted.

    The display is used again by later answers of the same cell, so that a loop leaves no trail.
    Any thread may call it.

    Args:
        cell: Tells one cell from another, such as its execution count.
        enabled: Asked at each answer; while it is false nothing but notes is shown.
    """

    def __init__(self, cell: Callable[[], object], *, enabled: Callable[[], bool]):
        self._cell = cell
        self._enabled = enabled
        self._states: dict[int, _State] = {}
        self._notes: Counter[str] = Counter()
        self._handle: DisplayHandle | None = None
        self._shown_in: object = None
        self._drawn = 0.0
        # Again by the same thread: garbage may be collected at any point, and with it an answer
        # that nobody waits for any more, whose end is shown.
        self._lock = threading.RLock()

    def show(self, event: AnswerPart) -> None:
        """Take in a part of an answer."""
        with self._lock:
            self._take(event)

    def clear(self) -> None:
        """Give way to the final output."""
        with self._lock:
            if self._states:
                self._states.clear()
                self._draw()

    def _take(self, event: AnswerPart) -> None:
        if self._shown_in != self._cell():
            self._begin()
        told = isinstance(event.part, Progress) and self._tell(event.model, event.part.note)
        if not self._enabled():
            return
        if event.part is None or isinstance(event.part, Completion):
            note = _note(event.part) if event.part else None
            if note:
                self._notes[note] += 1
            if self._states.pop(event.answer, None) or note:
                self._draw()
            return
        new = event.answer not in self._states
        state = self._states.setdefault(event.answer, _State(event.model))
        phase = state.progress.phase
        state.add(event.part)
        due = time.monotonic() - self._drawn > _REDRAW_SECONDS
        if new or due or told or state.progress.phase is not phase:
            self._draw()

    def _tell(self, model: str, note: str) -> bool:
        """Keep a note; False if the cell has it already, or there is none."""
        line = f"{model} · {printable(note)}"
        if not note or line in self._notes:
            return False
        self._notes[line] = 1
        if not self._enabled():
            print(line)
        return True

    def _begin(self) -> None:
        self._shown_in = self._cell()
        self._handle = None
        self._states.clear()
        self._notes.clear()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        states = [state.draw() for state in tuple(self._states.values())]
        text = "\n".join([*states, *map(_counted, tuple(self._notes.items()))])
        # A raw bundle: text of a model must not be taken for a path, a URL or HTML. An empty
        # one takes no room on the page.
        bundle = {"text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def wanted(profile: Loaded) -> bool:
    """Whether the configuration wants a live line: a fixed rendering must not change."""
    return profile.configuration.notebook.render == "auto"


def _note(completion: Completion) -> str | None:
    """What has to be said of an answer that was not ended by its model."""
    if completion.finish_reason != "length":
        return None
    facts = completion.metadata
    used = (facts.get("prompt_tokens") or 0) + (facts.get("completion_tokens") or 0)
    full = used >= (facts.get("context_size") or used + 1)
    limit = "the context is full" if full else "max_tokens is reached"
    tokens = facts.get("completion_tokens")
    return f"{facts.get('model')} · not finished: {limit} after {tokens} tokens"


def _counted(note: tuple[str, int]) -> str:
    text, times = note
    return text if times == 1 else f"{text} ({times} times)"
