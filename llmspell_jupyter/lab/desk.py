"""What the routes reach the engine through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.lab.installed import Installed
from llmspell_jupyter.lab.loads import Loads
from llmspell_jupyter.lab.models import Models
from llmspell_jupyter.lab.threads import Threads
from llmspell_jupyter.lab.watch import Watch

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.local_models import LocalModels

_T = TypeVar("_T")

# Acts may wait for a deaf engine; what is only read on this machine never waits behind them.
_ACTS, _LOOKS = 16, 4


class Desk:
    """One for each server.

    Args:
        owner: Says for which kernel of the server a client of the engine asks, by its id.

    Attributes:
        client: The user's engine.
        installed: The models on this machine.
        loads: Loads that pages began.
        watch: The engine's state.
    """

    def __init__(self, owner: Callable[[str], str | None]):
        self.client = EngineClient()
        self.loads = Loads(self._changed)
        self._models = Models(self.client)
        self.installed = Installed(self._models.now)
        self.watch = Watch(self.client, owner, self.loads, self.installed)
        self._acts = Threads(_ACTS)
        self._looks = Threads(_LOOKS)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def look(self, work: Callable[[LocalModels], _T]) -> _T:
        """Look at models of this machine; no engine is asked."""
        return await self.read(lambda: work(self._models.now()))

    async def read(self, work: Callable[[], _T]) -> _T:
        """Read something else on this machine."""
        return await self._looks.run(work)

    async def act(self, work: Callable[[LocalModels], _T]) -> _T:
        """Ask the engine for something, which is started if need be; pages are told at once."""
        self._loop = asyncio.get_running_loop()
        self.watch.rouse()
        try:
            return await self._acts.run(lambda: work(self._models.now()))
        finally:
            self.watch.rouse()

    def _changed(self) -> None:
        if self._loop is not None:
            # It has closed when the server ends.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.watch.rouse)
