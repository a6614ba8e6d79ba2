"""An answer on its way from the engine, for threads that wait for it."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future

from anyio.from_thread import BlockingPortal

from llmspell_jupyter.engine import exchange, start
from llmspell_jupyter.engine.api import calls
from llmspell_jupyter.engine.calling import TURN_SECONDS
from llmspell_jupyter.engine.connection import Connection
from llmspell_jupyter.engine.exchange import Ask
from llmspell_jupyter.errors import (
    SEE_LOGS,
    STOP_ENGINE,
    AnswerTimeout,
    EngineDied,
    EngineError,
    LLMSpellError,
)
from llmspell_jupyter.types import Chunk, EngineRequest, Progress, Result

Part = Progress | Chunk | Result


class Generation:
    """An answer on its way: iterate for progress, chunks and, last, the result.

    ``cancel`` may be called from any thread, at any time and more than once; the iteration then
    ends without a result.

    Raises:
        LLMSpellError: While iterating, when the request is refused or fails.
    """

    def __init__(self, portal: BlockingPortal, request: EngineRequest):
        self._parts: queue.SimpleQueue[Part | LLMSpellError | None] = queue.SimpleQueue()
        self._future: Future[None] = portal.start_task_soon(self._run, request)

    def __iter__(self) -> Iterator[Part]:
        return self.within(math.inf)

    def within(self, seconds: float) -> Iterator[Part]:
        """Iterate as ``iter`` does, but no longer than so many seconds.

        Raises:
            AnswerTimeout: The answer took longer; it is cancelled.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                part = self._parts.get(timeout=TURN_SECONDS)
            except queue.Empty:
                continue
            if part is None:
                return
            if isinstance(part, LLMSpellError):
                raise part
            yield part
        self.cancel()
        raise AnswerTimeout(
            f"execution timed out after {seconds:g}s (ResourceLimits: max_execution_time)",
            hint="Allow more with Agent.builder():max_execution_time(seconds), or write less with "
            "max_tokens(n).",
            data={"seconds": seconds},
        )

    def cancel(self) -> None:
        """Stop it; the engine stops, too."""
        self._future.cancel()
        # A task that was never started has nobody else to say that it is over.
        self._parts.put(None)

    async def _run(self, request: EngineRequest) -> None:
        try:
            async for part in _parts(request):
                self._parts.put(part)
        except LLMSpellError as error:
            self._parts.put(error)
        except Exception as error:
            # Nobody asks the future; without this the answer would just end.
            self._parts.put(EngineError(f"The engine cannot be used: {error!r}."))
        finally:
            self._parts.put(None)


async def _parts(request: EngineRequest) -> AsyncIterator[Part]:
    ask = Ask("POST", calls.address(request), calls.body(request))
    async with exchange.answer(start.find_or_start, ask, _lost) as found:
        assert found is not None
        reader = calls.Reader(request)
        async for line in found.response.aiter_lines():
            if line.startswith("data: ") and (part := reader.part(line[6:])):
                yield part
                if not isinstance(part, Progress | Chunk):
                    return
        raise _lost(found.engine, None)


def _lost(engine: Connection, silent: float | None) -> LLMSpellError:
    how = "ended while it answered" if silent is None else f"was silent for {silent:.0f} s"
    return EngineDied(
        f"The engine (process {engine.pid}) {how}.",
        hint=f"Run the cell again. {SEE_LOGS}" if silent is None else STOP_ENGINE,
        data={"pid": engine.pid},
    )
