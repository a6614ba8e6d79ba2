"""A model whose process keeps dying: when the next one may start, and when none does."""

from __future__ import annotations

import time
from collections.abc import Callable

from llmspell_jupyter.errors import SEE_LOGS, CrashLoop, LLMSpellError, WorkerDied
from llmspell_jupyter.models import spec

#: Deaths in a row after which no further process is started.
MOST = 5

# Seconds from a death to the next start. A single death is an accident, and nobody waits for it;
# the machine that several processes have died on is given time.
_PAUSES = (0.0, 0.0, 0.5, 1.0, 2.0)

# What has not happened for so long, in seconds, says nothing about the next process.
_FORGOTTEN = 600.0


class Restarts:
    """The deaths of a model's processes in a row, none of which had answered.

    Args:
        model: Id of the model, for messages.
        clock: Seconds of any clock that never goes back.
    """

    def __init__(self, model: str, clock: Callable[[], float] = time.monotonic):
        self._model = model
        self._clock = clock
        self._deaths = 0
        self._last: LLMSpellError | None = None
        self._at = 0.0

    @property
    def deaths(self) -> int:
        """How many there were."""
        return 0 if self._clock() - self._at > _FORGOTTEN else self._deaths

    def died(self, error: LLMSpellError) -> None:
        """Note the death of a process that had not answered."""
        self._deaths = self.deaths + 1
        self._last = error
        self._at = self._clock()

    def forget(self) -> None:
        """Begin anew: a process has answered, or somebody asks for another try."""
        self._deaths = 0

    def pause(self) -> float:
        """Seconds until the next process may start."""
        wait = _PAUSES[min(self.deaths, len(_PAUSES) - 1)]
        return max(0.0, self._at + wait - self._clock()) if wait else 0.0

    def check(self) -> None:
        """Refuse another process once enough have died.

        Raises:
            CrashLoop: They have; the message ends with what the last one died of.
        """
        last = self._last
        if last is None or self.deaths < MOST:
            return
        # That the cell can be run again does not hold any more.
        again = isinstance(last, WorkerDied) and not last.data.get("repair")
        raise CrashLoop(
            f"{self._model} is not started again: its process died {self.deaths} times in a row, "
            f"before it had answered anything. The last time:\n{last.message}",
            hint=f"{SEE_LOGS if again else last.hint}\n"
            f"Once the cause is mended, type: %model_load {spec.typed(self._model)}",
            data={
                "model": self._model,
                "deaths": self.deaths,
                "last": last.to_wire(),
                "tried_again_in_seconds": round(self._at + _FORGOTTEN - self._clock()),
            },
        )
