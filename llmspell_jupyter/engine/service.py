"""The engine over HTTP: the OpenAI API, and a small one of its own for status and jobs.

``POST /v1/chat/completions``, ``/v1/completions``, ``/v1/embeddings``, ``/v1/tokenize``,
``/api/load``, ``/api/unload``, ``/api/jobs/ID/cancel`` and ``/api/shutdown``; ``GET /v1/models``,
``/v1/models/ID``, ``/api/models``, ``/api/status`` and ``/metrics``. A stream is cancelled by
closing it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llmspell_jupyter.engine import messages, prometheus
from llmspell_jupyter.engine.api import answers, requests
from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.engine.fairness import ServiceClass
from llmspell_jupyter.errors import SEE_LOGS, EngineError, LLMSpellError, RequestError
from llmspell_jupyter.models import store
from llmspell_jupyter.types import Chunk, Lookup, Progress, Result

_log = logging.getLogger(__name__)

# A silent stream tells a client nothing; a comment this often tells it that the engine lives.
_HEARTBEAT_SECONDS = 5.0

# What web servers log for a client that did not wait; nobody is there to read it.
_CLIENT_GONE = 499

_LARGEST_BODY = 16 * 1024 * 1024

_Part = Progress | Chunk | Result


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
            *(
                Route(path, partial(service.ask, endpoint), methods=["POST"])
                for path, endpoint in answers.ENDPOINTS.items()
            ),
            Route("/api/unload", service.unload, methods=["POST"]),
            Route("/api/jobs/{job}/cancel", service.cancel_job, methods=["POST"]),
            Route("/v1/models", service.openai_models),
            Route("/v1/models/{model:path}", service.openai_model),
            Route("/api/models", service.models),
            Route("/api/status", service.status),
            Route("/metrics", service.metrics),
            Route("/api/shutdown", service.shutdown, methods=["POST"]),
        ],
        exception_handlers={
            LLMSpellError: _answer_error,
            HTTPException: _answer_unknown,
            Exception: _answer_surprise,
        },
    )


class _Service:
    def __init__(self, engine: Engine, about: dict[str, Any], stop: Callable[[], None]):
        self._engine = engine
        self._about = about
        self._stop = stop

    async def status(self, request: Request) -> Response:
        return JSONResponse(self._about | self._engine.status())

    async def metrics(self, request: Request) -> Response:
        status = self._about | self._engine.status()
        text = self._engine.metrics.text(status)
        return Response(text, headers={"Content-Type": prometheus.CONTENT_TYPE})

    async def models(self, request: Request) -> Response:
        lookup = Lookup(folders=tuple(request.query_params.getlist("folder")))
        models = await asyncio.to_thread(self._engine.models, lookup)
        return JSONResponse({"models": [messages.model_to_wire(model) for model in models]})

    async def openai_models(self, request: Request) -> Response:
        models = await asyncio.to_thread(self._engine.models, Lookup())
        return JSONResponse(answers.model_list(models))

    async def openai_model(self, request: Request) -> Response:
        model = await asyncio.to_thread(store.resolve, request.path_params["model"])
        return JSONResponse(answers.model_entry(model))

    async def shutdown(self, request: Request) -> Response:
        self._stop()
        return JSONResponse({"stopping": True})

    async def unload(self, request: Request) -> Response:
        asked, force = requests.read_unload(await _json(request))
        return JSONResponse({"unloaded": await self._engine.unload(asked, force=force)})

    async def cancel_job(self, request: Request) -> Response:
        return JSONResponse({"cancelled": self._engine.jobs.cancel(request.path_params["job"])})

    async def ask(self, endpoint: answers.Endpoint, request: Request) -> Response:
        body = requests.read(await _json(request), endpoint.body)
        form = endpoint.form(body)
        answer = _Answer(self._engine.answer(body.request, _client(request), _class(request)))
        watch = asyncio.create_task(_disconnected(request))
        watch.add_done_callback(answer.cancel_unless_cancelled)
        try:
            if body.stream:
                # What is refused before the first word is refused with its HTTP status.
                first = await answer.next()
                while isinstance(first, Progress) and not body.progress:
                    first = await answer.next()
                return _Stream(answer, first, form)
            async for part in answer:
                if not isinstance(part, Progress | Chunk):
                    return JSONResponse(form.whole(part))
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

    def __init__(self, answer: _Answer, first: _Part | None, form: answers.Form):
        super().__init__(self._lines(first, form), media_type="text/event-stream")
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()

    async def _lines(self, first: _Part | None, form: answers.Form) -> AsyncIterator[str]:
        try:
            part = first
            while part is not None:
                for value in form.values(part):
                    yield f"data: {json.dumps(value)}\n\n"
                following = asyncio.ensure_future(self._answer.next())
                while not (await asyncio.wait({following}, timeout=_HEARTBEAT_SECONDS))[0]:
                    yield ": still here\n\n"
                part = following.result()
            yield "data: [DONE]\n\n"
        except LLMSpellError as error:
            yield f"data: {json.dumps(answers.error_body(error))}\n\n"


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


def _class(request: Request) -> ServiceClass:
    name = request.headers.get("x-llmspell-class", ServiceClass.INTERACTIVE)
    try:
        return ServiceClass(name)
    except ValueError:
        allowed = [str(each) for each in ServiceClass]
        shown = name[:100].encode("unicode_escape").decode()
        raise RequestError(
            f"The header X-LLMSpell-Class is {shown!r}; it can be {' or '.join(allowed)}.",
            hint=f"Send X-LLMSpell-Class: {allowed[0]}, or leave the header out.",
            data={"field": "X-LLMSpell-Class", "allowed": allowed},
        ) from None


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LLMSpellError)
    return JSONResponse(answers.error_body(error), status_code=error.status)


async def _answer_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"This engine has no {request.method} {request.url.path}."
    body = {"error": {"message": message, "type": "NotFound", "param": None, "code": None}}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _answer_surprise(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(answers.error_body(_surprise(error)), status_code=500)


def _surprise(error: Exception) -> EngineError:
    return EngineError(
        f"The engine failed: {type(error).__name__}: {error}",
        hint=SEE_LOGS,
    )
