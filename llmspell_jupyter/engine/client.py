"""The engine as other rooms see it: blocking calls and iterators, from any thread."""

from __future__ import annotations

import atexit
import json
import math
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from llmspell_jupyter.engine import messages, start
from llmspell_jupyter.errors import (
    SEE_LOGS,
    STOP_ENGINE,
    AnswerTimeout,
    EngineDied,
    EngineError,
    Interrupted,
    LLMSpellError,
    from_wire,
)
from llmspell_jupyter.types import (
    Chunk,
    Completion,
    GenerationRequest,
    ModelInfo,
    Phase,
    Progress,
    Sampling,
)

_T = TypeVar("_T")

Part = Progress | Chunk | Completion

# The engine sends a sign of life every five seconds.
_SILENCE_SECONDS = 30.0

# Waiting in short turns lets Ctrl-C through on systems where a lock cannot be interrupted.
_TURN_SECONDS = 0.2


class EngineClient:
    """Reaches this user's engine, and starts it when it is needed and absent.

    Requests run on an event loop of their own in a background thread, so that they work the same
    from a kernel's main thread, from the Lua thread and from a plain program, and can be
    cancelled at any point of their way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._kept = ExitStack()
        self._waiting: set[Future[Any]] = set()

    def status(self, *, start_engine: bool = False) -> dict[str, Any] | None:
        """What the engine is doing; None when none runs.

        Raises:
            EngineUnavailable: There is one, but it does not answer.
        """

        async def ask() -> dict[str, Any] | None:
            found = await (start.find_or_start() if start_engine else start.find())
            if found is None:
                return None
            async with start.http_client(found) as client:
                return await _get(client, "/api/status")

        return self._wait(ask)

    def models(self) -> list[ModelInfo]:
        """Models on this machine."""

        async def ask() -> list[ModelInfo]:
            async with start.http_client(await start.find_or_start()) as client:
                answer = await _get(client, "/api/models")
            return [messages.model_from_wire(each) for each in answer["models"]]

        return self._wait(ask)

    def shutdown(self) -> bool:
        """Ask the engine to end; False when none runs."""

        async def ask() -> bool:
            found = await start.find()
            if found is None:
                return False
            async with start.http_client(found) as client:
                await client.post("/api/shutdown")
            return True

        return self._wait(ask)

    def generate(self, request: GenerationRequest) -> Generation:
        """Start a generation; iterate over what is returned."""
        return Generation(self._ready_portal(), request)

    def close(self) -> None:
        """Cancel what is under way and end the background thread; happens by itself at exit."""
        with self._lock:
            portal, self._portal = self._portal, None
            if portal is not None:
                portal.call(portal.stop, True)
                self._kept.close()

    def cancel(self) -> None:
        """End the calls that wait for an answer now; each raises ``Interrupted``."""
        for future in tuple(self._waiting):
            future.cancel()

    def _wait(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        future = self._ready_portal().start_task_soon(ask)
        self._waiting.add(future)
        try:
            return _result(future)
        finally:
            self._waiting.discard(future)
            future.cancel()

    def _ready_portal(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                self._portal = self._kept.enter_context(
                    start_blocking_portal("asyncio", name="llmspell")
                )
                atexit.register(self.close)
            return self._portal


class Generation:
    """An answer on its way: iterate for progress, chunks and, last, the completion.

    ``cancel`` may be called from any thread, at any time and more than once; the iteration then
    ends without a completion.

    Raises:
        LLMSpellError: While iterating, when the request is refused or fails.
    """

    def __init__(self, portal: BlockingPortal, request: GenerationRequest):
        self._parts: queue.SimpleQueue[Part | LLMSpellError | None] = queue.SimpleQueue()
        self._future: Future[None] = portal.start_task_soon(self._run, request)

    def __iter__(self) -> Iterator[Part]:
        return self.within(math.inf)

    def within(self, seconds: float) -> Iterator[Part]:
        """Iterate as ``iter`` does, but no longer than so many seconds.

        Raises:
            AnswerTimeout: The time is up; the generation is cancelled.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                part = self._parts.get(timeout=_TURN_SECONDS)
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

    async def _run(self, request: GenerationRequest) -> None:
        try:
            async for part in _generate(request):
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


def _result(future: Future[_T]) -> _T:
    while True:
        try:
            return future.result(timeout=_TURN_SECONDS)
        except TimeoutError:
            if future.done():
                raise
        except CancelledError:
            raise Interrupted("Stopped while it waited for the engine.") from None


async def _get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    response = await client.get(path)
    if response.is_error:
        raise _refusal(response)
    value: dict[str, Any] = response.json()
    return value


async def _generate(request: GenerationRequest) -> AsyncIterator[Part]:
    chat = request.messages is not None
    path = "/v1/chat/completions" if chat else "/v1/completions"
    async with AsyncExitStack() as stack:
        found = await start.find_or_start()
        client = await stack.enter_async_context(start.http_client(found))
        response = await stack.enter_async_context(
            client.stream(
                "POST",
                path,
                # Not httpx's json, which fails on what the engine refuses with a reason: NaN, and
                # halves of characters.
                content=json.dumps(_body(request)),
                headers={"Content-Type": "application/json"},
                timeout=httpx.Timeout(5.0, read=_SILENCE_SECONDS),
            )
        )
        if response.is_error:
            await response.aread()
            raise _refusal(response)
        text: list[str] = []
        try:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and (part := _part(line[6:], text)):
                    yield part
                    if isinstance(part, Completion):
                        return
        except httpx.TransportError as error:
            raise _gone(error, found.pid) from None
        raise _gone(None, found.pid)


def _gone(error: httpx.TransportError | None, pid: int) -> EngineDied:
    silent = isinstance(error, httpx.TimeoutException)
    how = f"was silent for {_SILENCE_SECONDS:.0f} s" if silent else "ended while it answered"
    return EngineDied(
        f"The engine (process {pid}) {how}.",
        hint=STOP_ENGINE if silent else f"Run the cell again. {SEE_LOGS}",
        data={"pid": pid},
    )


def _body(request: GenerationRequest) -> dict[str, Any]:
    sampling, options = request.sampling, request.options
    body: dict[str, Any] = {
        "model": request.model,
        "stream": True,
        "max_tokens": request.max_tokens,
        "stop": list(request.stop),
        "llmspell": {
            "progress": True,
            "options": {name: getattr(options, name) for name in options.__dataclass_fields__},
        },
    }
    body |= {
        name: value
        for name in Sampling.__dataclass_fields__
        if (value := getattr(sampling, name)) is not None
    }
    if request.messages is None:
        return body | {"prompt": request.prompt}
    wire = [{"role": each.role, "content": each.content} for each in request.messages]
    return body | {"messages": wire}


def _part(data: str, text: list[str]) -> Part | None:
    """The part that one value of the stream stands for; collects the text of chunks."""
    if data == "[DONE]":
        return None
    value = json.loads(data)
    if "error" in value:
        raise _error(value)
    extra = value.get("llmspell", {})
    if "progress" in extra:
        progress = extra["progress"]
        return Progress(Phase(progress["phase"]), progress["done"], progress["total"])
    if "metadata" in extra:
        metadata = extra["metadata"]
        return Completion("".join(text), metadata["finish_reason"], metadata)
    choice = value["choices"][0]
    new = choice["text"] if "text" in choice else choice["delta"].get("content", "")
    text.append(new)
    return Chunk(new, extra.get("tokens", 0))


def _refusal(response: httpx.Response) -> LLMSpellError:
    try:
        return _error(response.json())
    except (ValueError, KeyError, TypeError):
        return EngineError(f"The engine answered {response.status_code}.")


def _error(value: dict[str, Any]) -> LLMSpellError:
    error = value["error"]
    return from_wire(error.get("llmspell") or {"type": "EngineError", **error})
