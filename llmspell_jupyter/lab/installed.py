"""The models on this machine, looked at now and then for all pages."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.lab.threads import Threads

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.local_models import LocalModels
    from llmspell_jupyter.types import ModelInfo

# Between two looks that nobody asked for.
_SECONDS = 2.0


class Installed:
    """Finds the models, and tells pages by a mark whether their list is of now.

    Args:
        models: What can be done with models under the configuration of now; blocks.

    Attributes:
        mark: Another text when other models are there; None before the first look.
    """

    def __init__(self, models: Callable[[], LocalModels]):
        self.mark: str | None = None
        self._models = models
        # One after the other: the mark is of the last look.
        self._threads = Threads(1)
        self._looking: asyncio.Task[None] | None = None
        self._ended = -math.inf

    async def find(self) -> list[ModelInfo]:
        """The models of now, of which ``mark`` is when this returns.

        Raises:
            ConfigError: The configuration is wrong.
        """
        found = await self._threads.run(self._find)
        self.mark = _mark(found)
        return found

    def look(self) -> asyncio.Task[None]:
        """Look again if the last look was some time ago; the look that goes on, or the last."""
        if self._looking is None or (
            self._looking.done() and time.monotonic() - self._ended >= _SECONDS
        ):
            self._looking = asyncio.create_task(self._look())
        return self._looking

    async def _look(self) -> None:
        try:
            # What is wrong is said where models are listed.
            with suppress(LLMSpellError, OSError):
                await self.find()
        finally:
            self._ended = time.monotonic()

    def _find(self) -> list[ModelInfo]:
        from llmspell_jupyter.models import store

        return store.installed(lookup=self._models().lookup)


def _mark(found: Iterable[ModelInfo]) -> str:
    each = (repr((model.id, model.path, model.size_bytes, model.modified_at)) for model in found)
    return hashlib.sha256("\n".join(sorted(each)).encode()).hexdigest()[:16]
