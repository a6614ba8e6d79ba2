"""The engine's state, looked at once for all pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import psutil

from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.lab.threads import Threads

# How long a page waits for the engine; it is told what was known before then.
_PATIENCE_SECONDS = 0.1


class Watch:
    """Looks at the engine, one look at a time, however many ask. Starts none.

    Args:
        client: The user's engine.
        kernels: Says which process each kernel of the server is, by the kernel's id.
    """

    def __init__(self, client: EngineClient, kernels: Callable[[], dict[str, int]] = dict):
        self._client = client
        self._kernels = kernels
        self._threads = Threads(1)
        self._look: asyncio.Task[None] | None = None
        self._engine: dict[str, Any] | None = None
        self._is_stale = False

    async def status(self) -> dict[str, Any]:
        """``{engine, machine, kernels, version}``, at once even when the engine is deaf."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._refresh())
        await asyncio.wait({self._look}, timeout=_PATIENCE_SECONDS)
        engine = self._engine
        if not self._look.done():
            engine = {**engine, "stale": True} if engine else {"error": _silent()}
        memory = psutil.virtual_memory()
        return {
            "engine": engine,
            "machine": {"memory_total": memory.total, "memory_available": memory.available},
            "kernels": self._kernels(),
            "version": version("llmspell-jupyter"),
        }

    async def _refresh(self) -> None:
        try:
            self._engine = await self._threads.run(self._client.status)
        except LLMSpellError as error:
            self._engine = {"error": error.to_wire()}


def _silent() -> dict[str, Any]:
    return LLMSpellError("The engine has not answered yet.").to_wire()
