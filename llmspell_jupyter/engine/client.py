"""The engine as other rooms see it: blocking calls and iterators, from any thread."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from llmspell_jupyter.engine import messages, start
from llmspell_jupyter.engine.generation import TURN_SECONDS, Generation, Part, refusal
from llmspell_jupyter.errors import Interrupted
from llmspell_jupyter.types import (
    EmbeddingRequest,
    Embeddings,
    EngineRequest,
    GenerationRequest,
    LoadRequest,
    Lookup,
    ModelInfo,
    TokenizeRequest,
    Tokens,
)

__all__ = ["EngineClient", "Generation", "Part"]

_T = TypeVar("_T")

# Ending a worker takes a second at most, and several end at a time.
_UNLOAD_SECONDS = 30.0


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
        self._waiting: set[Future[Any] | Generation] = set()

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

    def models(self, lookup: Lookup | None = None) -> list[ModelInfo]:
        """Models on this machine.

        Args:
            lookup: Names folders that are searched before those of the engine.
        """
        folders = [("folder", each) for each in lookup.folders] if lookup else []
        path = str(httpx.URL("/api/models", params=folders))

        async def ask() -> list[ModelInfo]:
            async with start.http_client(await start.find_or_start()) as client:
                answer = await _get(client, path)
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
        return self.ask(request)

    def load(self, request: LoadRequest) -> Generation:
        """Start to load a model; iterate for progress and, last, ``Ready``.

        Cancelling gives the load up, unless others wait for the same model.
        """
        return self.ask(request)

    def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Turn texts into vectors."""
        return self._result(request, Embeddings)

    def tokenize(self, request: TokenizeRequest) -> Tokens:
        """Split a text into a model's tokens."""
        return self._result(request, Tokens)

    def ask(self, request: EngineRequest) -> Generation:
        """Start to answer any request; iterate for progress, chunks and, last, the result."""
        return Generation(self._ready_portal(), request)

    def unload(self, model: str, *, force: bool = False) -> int:
        """End the workers of a model; how many there were. No engine is started for it.

        Raises:
            EngineBusy: It works, and ``force`` is false.
            ModelNotFound: No such model is loaded or on this machine.
        """

        async def ask() -> int:
            found = await start.find()
            if found is None:
                return 0
            async with start.http_client(found) as client:
                answer = await _post(client, "/api/unload", {"model": model, "force": force})
            return int(answer["unloaded"])

        return self._wait(ask)

    def cancel_job(self, job_id: str) -> bool:
        """End a job, whoever asked for it; False when it has ended already."""

        async def ask() -> bool:
            found = await start.find()
            if found is None:
                return False
            async with start.http_client(found) as client:
                answer = await _post(client, f"/api/jobs/{quote(job_id, safe='')}/cancel", {})
            return bool(answer["cancelled"])

        return self._wait(ask)

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

    def _result(self, request: EngineRequest, kind: type[_T]) -> _T:
        generation = self.ask(request)
        self._waiting.add(generation)
        try:
            for part in generation:
                if isinstance(part, kind):
                    return part
        finally:
            self._waiting.discard(generation)
            generation.cancel()
        raise Interrupted("Stopped while it waited for the engine.")

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


def _result(future: Future[_T]) -> _T:
    while True:
        try:
            return future.result(timeout=TURN_SECONDS)
        except TimeoutError:
            if future.done():
                raise
        except CancelledError:
            raise Interrupted("Stopped while it waited for the engine.") from None


async def _get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    return _value(await client.get(path))


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    return _value(await client.post(path, json=body, timeout=_UNLOAD_SECONDS))


def _value(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise refusal(response)
    value: dict[str, Any] = response.json()
    return value
