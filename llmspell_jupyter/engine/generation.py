"""An answer on its way from the engine, for threads that wait for it."""

from __future__ import annotations

import json
import math
import queue
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack

import httpx
from anyio.from_thread import BlockingPortal

from llmspell_jupyter.engine import start
from llmspell_jupyter.engine.api import calls
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

#: The engine sends a sign of life every five seconds.
SILENCE_SECONDS = 30.0

#: Waiting in short turns lets Ctrl-C through on systems where a lock cannot be interrupted.
TURN_SECONDS = 0.2


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
        except httpx.HTTPError as error:
            self._parts.put(EngineDied(f"The engine cannot be reached: {error!r}."))
        except Exception as error:
            # Nobody asks the future; without this the answer would just end.
            self._parts.put(EngineError(f"The engine cannot be used: {error!r}."))
        finally:
            self._parts.put(None)


async def _parts(request: EngineRequest) -> AsyncIterator[Part]:
    async with AsyncExitStack() as stack:
        found = await start.find_or_start()
        client = await stack.enter_async_context(start.http_client(found))
        response = await stack.enter_async_context(
            client.stream(
                "POST",
                calls.address(request),
                # Not httpx's json, which fails on what the engine refuses with a reason: NaN, and
                # halves of characters.
                content=json.dumps(calls.body(request)),
                headers={"Content-Type": "application/json"},
                timeout=httpx.Timeout(5.0, read=SILENCE_SECONDS),
            )
        )
        if response.is_error:
            await response.aread()
            raise refusal(response)
        reader = calls.Reader(request)
        try:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and (part := reader.part(line[6:])):
                    yield part
                    if not isinstance(part, Progress | Chunk):
                        return
        except httpx.TransportError as error:
            raise _gone(error, found.pid) from None
        raise _gone(None, found.pid)


def refusal(response: httpx.Response) -> LLMSpellError:
    """The error for an answer with an error status."""
    try:
        return calls.error(response.json())
    except (ValueError, KeyError, TypeError):
        return EngineError(f"The engine answered {response.status_code}.")


def _gone(error: httpx.TransportError | None, pid: int) -> EngineDied:
    silent = isinstance(error, httpx.TimeoutException)
    how = f"was silent for {SILENCE_SECONDS:.0f} s" if silent else "ended while it answered"
    return EngineDied(
        f"The engine (process {pid}) {how}.",
        hint=STOP_ENGINE if silent else f"Run the cell again. {SEE_LOGS}",
        data={"pid": pid},
    )
