"""Loads that pages began; they go on when the page is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import EngineError, Interrupted, LLMSpellError
from llmspell_jupyter.types import Progress, Ready

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.local_models import LocalModels

# What is refused is refused within this time; a page waits no longer to hear that it goes on.
_PATIENCE_SECONDS = 1.0

# How long the end of a load is told.
_KEPT_SECONDS = 60.0


@dataclass(slots=True)
class Load:
    """One load.

    Attributes:
        model: As the page named it.
        phase: Where it stands; ``ready`` or ``failed`` when it is over.
        percent: Share of the phase that is done; None when unknown.
        note: What the user should know.
        error: What it failed with.
        ended: When, by the monotonic clock; None while it runs.
    """

    model: str
    phase: str = "starting"
    percent: int | None = None
    note: str = ""
    error: LLMSpellError | None = None
    ended: float | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def to_wire(self) -> dict[str, Any]:
        """The load as JSON values."""
        return {
            "model": self.model,
            "phase": self.phase,
            "percent": self.percent,
            "note": self.note,
            "error": self.error.to_wire() if self.error else None,
        }


class Loads:
    """The loads of all pages; the last of each model.

    Args:
        changed: Called from any thread when one begins or ends.
    """

    def __init__(self, changed: Callable[[], None]):
        self._changed = changed
        self._loads: dict[str, Load] = {}
        self._lock = threading.Lock()

    def begin(self, models: LocalModels, name: str) -> bool:
        """Begin to load a model, or join; whether it goes on still. Blocks for a second at most.

        Raises:
            LLMSpellError: It was refused.
        """
        with self._lock:
            load = self._loads.get(name)
            if load is None or load.ended is not None:
                load = self._loads[name] = Load(name)
                threading.Thread(
                    target=self._run, args=(load, models), name="llmspell-load", daemon=True
                ).start()
        self._changed()
        load.over.wait(_PATIENCE_SECONDS)
        if load.error is not None:
            raise load.error
        return load.ended is None

    def running(self) -> bool:
        """Whether any is under way."""
        return any(each.ended is None for each in [*self._loads.values()])

    def to_wire(self) -> list[dict[str, Any]]:
        """Those under way, and those that ended of late."""
        oldest = time.monotonic() - _KEPT_SECONDS
        for name, load in [*self._loads.items()]:
            if load.ended is not None and load.ended < oldest:
                self._loads.pop(name, None)
        return [each.to_wire() for each in [*self._loads.values()]]

    def _run(self, load: Load, models: LocalModels) -> None:
        try:
            with models.loading(load.model) as parts:
                for part in parts:
                    if isinstance(part, Progress):
                        load.phase, load.percent = str(part.phase), part.percent
                        load.note = part.note or load.note
                    elif isinstance(part, Ready):
                        load.phase, load.percent = "ready", 100
            if load.phase != "ready":
                raise Interrupted(f"The load of {load.model} was given up.")
        except LLMSpellError as error:
            load.error = error
        except Exception as error:
            # Nobody else would hear of it.
            load.error = EngineError(f"The load failed: {type(error).__name__}: {error}")
        finally:
            if load.error is not None:
                load.phase, load.percent = "failed", None
            load.ended = time.monotonic()
            load.over.set()
            self._changed()
