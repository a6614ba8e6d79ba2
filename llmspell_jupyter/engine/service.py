"""The engine over HTTP: the OpenAI API, and a small one of its own for status and jobs.

``POST /v1/chat/completions``, ``POST /v1/completions``, ``GET /v1/models``, ``GET /api/models``,
``GET /api/status`` and ``POST /api/shutdown``. A stream is cancelled by closing it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llmspell_jupyter.engine import api, messages
from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.errors import SEE_LOGS, EngineError, LLMSpellError, RequestError
from llmspell_jupyter.types import Chunk, Completion, Progress

_log = logging.getLogger(__name__)

# A silent stream tells a client nothing; a comment this often tells it that the engine lives.
_HEARTBEAT_SECONDS = 5.0

# What web servers log for a client that did not wait; nobody is there to read it.
_CLIENT_GONE = 499

_LARGEST_BODY = 16 * 1024 * 1024

_Part = Progress | Chunk | Completion


def application(engine: Engine, *, about: dict[str, Any], stop: Callable[[], None]) -> Starlette:
    """The ASGI application.

    Args:
        engine: What answers.
        about: Facts of the process that ``/api/status`` adds to the engine's own.
        stop: Called when a client asks the engine to end.
    """
    service = _Service(engine, about, stop)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", service.chat_completions, methods=["POST"]),
            Route("/v1/completions", service.completions, methods=["POST"]),
            Route("/v1/models", service.openai_models),
            Route("/api/models", service.models),
            Route("/api/status", service.status),
            Route("/api/shutdown", service.shutdown, methods=["POST"]),
        ],
        exception_handlers={LLMSpellError: _answer_error, Exception: _answer_surprise},
    )


class _Service:
    def __init__(self, engine: Engine, about: dict[str, Any], stop: Callable[[], None]):
        self._engine = engine
        self._about = about
        self._stop = stop

    async def status(self, request: Request) -> Response:
        return JSONResponse(self._about | self._engine.status())

    async def models(self, request: Request) -> Response:
        models = await asyncio.to_thread(self._engine.models)
        return JSONResponse({"models": [messages.model_to_wire(model) for model in models]})

    async def openai_models(self, request: Request) -> Response:
        models = await asyncio.to_thread(self._engine.models)
        return JSONResponse(api.model_list(models))

    async def shutdown(self, request: Request) -> Response:
        self._stop()
        return JSONResponse({"stopping": True})

    async def chat_completions(self, request: Request) -> Response:
        return await self._complete(request, api.CHAT)

    async def completions(self, request: Request) -> Response:
        return await self._complete(request, api.TEXT)

    async def _complete(self, request: Request, kind: api.Kind) -> Response:
        body = api.read_body(await _json(request), kind)
        answer = _Answer(self._engine.generate(body.request, _client(request)))
        watch = asyncio.create_task(_disconnected(request))
        watch.add_done_callback(answer.cancel_unless_cancelled)
        try:
            if body.stream:
                # What is refused before the first word is refused with its HTTP status.
                first = await answer.next()
                while isinstance(first, Progress) and not body.progress:
                    first = await answer.next()
                return _Stream(answer, first, api.Stream(kind, body))
            async for part in answer:
                if isinstance(part, Completion):
                    return JSONResponse(api.whole(kind, body.request, part, int(time.time())))
            return Response(status_code=_CLIENT_GONE)
        finally:
            watch.cancel()


class _Answer:
    """A generation on a task of its own, so that the client's going never interrupts its cleanup.

    Iterates over the parts; ends early without error when it is cancelled.
    """

    _tasks: ClassVar[set[asyncio.Task[None]]] = set()

    def __init__(self, parts: AsyncGenerator[_Part, None]):
        self._parts: asyncio.Queue[_Part | LLMSpellError | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(parts))
        # The event loop itself holds tasks only weakly.
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def __aiter__(self) -> _Answer:
        return self

    async def __anext__(self) -> _Part:
        part = await self.next()
        if part is None:
            raise StopAsyncIteration
        return part

    async def next(self) -> _Part | None:
        """The next part; None after the last.

        Raises:
            LLMSpellError: The generation failed.
        """
        part = await self._parts.get()
        if isinstance(part, LLMSpellError):
            raise part
        return part

    def cancel(self) -> None:
        """Stop the generation; nothing happens when it is over."""
        self._task.cancel()

    def cancel_unless_cancelled(self, watch: asyncio.Task[None]) -> None:
        """Stop the generation when a watch has come to its end by itself."""
        if not watch.cancelled():
            self.cancel()

    async def _run(self, parts: AsyncGenerator[_Part, None]) -> None:
        try:
            async with aclosing(parts):
                async for part in parts:
                    self._parts.put_nowait(part)
        except LLMSpellError as error:
            self._parts.put_nowait(error)
        except Exception as error:
            _log.exception("A generation failed")
            self._parts.put_nowait(_surprise(error))
        finally:
            self._parts.put_nowait(None)


class _Stream(StreamingResponse):
    """An answer as server-sent events; cancelled whenever and however the response ends."""

    def __init__(self, answer: _Answer, first: _Part | None, stream: api.Stream):
        super().__init__(self._lines(first, stream), media_type="text/event-stream")
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()

    async def _lines(self, first: _Part | None, stream: api.Stream) -> AsyncIterator[str]:
        try:
            part = first
            while part is not None:
                for value in stream.values(part):
                    yield f"data: {json.dumps(value)}\n\n"
                following = asyncio.ensure_future(self._answer.next())
                while not (await asyncio.wait({following}, timeout=_HEARTBEAT_SECONDS))[0]:
                    yield ": still here\n\n"
                part = following.result()
            yield "data: [DONE]\n\n"
        except LLMSpellError as error:
            yield f"data: {json.dumps(api.error_body(error))}\n\n"


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _json(request: Request) -> Any:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > _LARGEST_BODY:
            raise RequestError(f"The request is larger than {_LARGEST_BODY // 1024**2} MiB.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The body is not JSON: {error}") from None


def _client(request: Request) -> str:
    name = request.headers.get("x-llmspell-client", "") or request.headers.get("user-agent", "?")
    return name[:100].encode("unicode_escape").decode()


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LLMSpellError)
    return JSONResponse(api.error_body(error), status_code=error.status)


async def _answer_surprise(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(api.error_body(_surprise(error)), status_code=500)


def _surprise(error: Exception) -> EngineError:
    return EngineError(
        f"The engine failed: {type(error).__name__}: {error}",
        hint=SEE_LOGS,
    )
