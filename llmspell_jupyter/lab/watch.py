"""What changes by itself, looked at once for all pages."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

import psutil

from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import STOP_ENGINE, EngineUnavailable, LLMSpellError
from llmspell_jupyter.lab.installed import Installed
from llmspell_jupyter.lab.loads import Loads
from llmspell_jupyter.lab.pages import Page
from llmspell_jupyter.lab.threads import Threads

# How long pages wait for a look that has begun; then they are told what was known before.
_PATIENCE_SECONDS = 0.15

# Between two looks while somebody watches: when something runs, and when nothing does.
_BUSY_SECONDS = 0.15
_IDLE_SECONDS = 1.0

# What the engine said is news for so long, also while it takes its time for the next answer.
_NEWS_SECONDS = 2 * _IDLE_SECONDS

# What changes by itself while nothing happens.
_RESTLESS = ("seconds", "idle_seconds", "leaves_in_seconds", "rss_bytes")


class Watch:
    """Looks at the engine, one look at a time, however many ask. Starts none.

    Args:
        client: The user's engine.
        owner: Says for which kernel of the server a client of the engine asks, by its id.
        loads: Loads that pages began.
        installed: The models on this machine.
    """

    def __init__(
        self,
        client: EngineClient,
        owner: Callable[[str], str | None],
        loads: Loads,
        installed: Installed,
    ):
        self._client = client
        self._owner = owner
        self._loads = loads
        self._installed = installed
        self._threads = Threads(1)
        self._looking: asyncio.Task[None] | None = None
        self._began = self._ended = -math.inf
        self._engine: dict[str, Any] | None = None
        self._pages: set[Page] = set()
        self._watching: asyncio.Task[None] | None = None
        self._roused = asyncio.Event()
        self._told: str | None = None

    async def status(self) -> dict[str, Any]:
        """``{engine, machine, loads, models, version}``, at once even when the engine is deaf.

        Each job also says for which ``kernel`` of the server it runs; None when it is none.
        ``models`` is the mark of those on this machine.
        """
        if self._looking is None or self._looking.done():
            self._began = time.monotonic()
            self._looking = asyncio.create_task(self._look())
        patience = self._began + _PATIENCE_SECONDS - time.monotonic()
        await asyncio.wait({self._looking, self._installed.look()}, timeout=max(0.0, patience))
        engine = self._engine
        if not self._looking.done() and time.monotonic() - self._ended > _NEWS_SECONDS:
            engine = {**engine, "stale": True} if engine else {"error": _silent().to_wire()}
        if engine and "jobs" in engine:
            engine = {**engine, "jobs": [*map(self._owned, engine["jobs"])]}
        memory = psutil.virtual_memory()
        return {
            "engine": engine,
            "machine": {"memory_total": memory.total, "memory_available": memory.available},
            "loads": self._loads.to_wire(),
            "models": self._installed.mark,
            "version": _version(),
        }

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A page that watches while the block runs."""
        page = Page()
        self._pages.add(page)
        # Whoever comes is told how things are.
        self._told = None
        self.rouse()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            yield page
        finally:
            self._pages.discard(page)
            self.rouse()

    def rouse(self) -> None:
        """Look now: something has begun or ended."""
        self._roused.set()

    def _owned(self, job: dict[str, Any]) -> dict[str, Any]:
        return {**job, "kernel": self._owner(job["client"])}

    async def _look(self) -> None:
        try:
            self._engine = await self._threads.run(self._client.status)
        except LLMSpellError as error:
            self._engine = {"error": error.to_wire()}
        except Exception as error:
            # A library's; the page has to hear of it all the same.
            said = f"The engine cannot be asked: {type(error).__name__}: {error}"
            self._engine = {"error": EngineUnavailable(said, hint=STOP_ENGINE).to_wire()}
        self._ended = time.monotonic()

    async def _watch(self) -> None:
        """Tell the pages, as long as there are any."""
        while self._pages:
            self._roused.clear()
            begun = asyncio.get_running_loop().time()
            status = await self.status()
            busy = self._is_busy(status)
            told = json.dumps(status, default=str) if busy else _at_rest(status)
            if told != self._told:
                self._told = told
                for page in self._pages:
                    page.tell(status)
            took = asyncio.get_running_loop().time() - begun
            period = _BUSY_SECONDS if busy else _IDLE_SECONDS
            await _within(self._roused.wait(), max(0.02, period - took))

    def _is_busy(self, status: dict[str, Any]) -> bool:
        engine = status["engine"] or {}
        working = any(each.get("state") == "loading" for each in engine.get("workers", ()))
        return bool(engine.get("jobs")) or working or self._loads.running()


async def _within(waiting: Any, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(waiting, seconds)


@functools.cache
def _version() -> str:
    return version("llmspell-jupyter")


def _at_rest(status: dict[str, Any]) -> str:
    """The status without what changes by itself."""

    def still(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: still(each) for key, each in value.items() if key not in _RESTLESS}
        return [still(each) for each in value] if isinstance(value, list) else value

    return json.dumps(still({**status, "machine": None}), default=str)


def _silent() -> EngineUnavailable:
    return EngineUnavailable("The engine has not answered yet.", hint=STOP_ENGINE)
