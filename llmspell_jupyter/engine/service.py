"""The engine over HTTP: the OpenAI API, and a small one of its own for models, jobs and status.

``POST /v1/chat/completions``, ``/v1/completions``, ``/v1/embeddings``, ``/v1/tokenize``,
``/api/load``, ``/api/unload`` and ``/api/shutdown``; ``GET /v1/models``, ``/v1/models/ID``,
``/api/models``, ``/api/status`` and ``/metrics``. A stream of these is cancelled by closing it.

Of model files: ``POST /api/pull``, ``/api/verify``, ``/api/available``, ``/api/info``,
``/api/remove``, ``/api/gc``, ``/api/fit`` and ``/api/ollama``. A pull and a verification are jobs
that go on when their stream is closed; ``GET /api/jobs/ID/events`` watches one, and
``POST /api/jobs/ID/cancel`` ends any job; with ``discard`` a pull leaves nothing of what has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llmspell_jupyter.engine import prometheus
from llmspell_jupyter.engine.api import answers, requests
from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.engine.routes import files, http, questions
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.models import store
from llmspell_jupyter.types import Lookup


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
            *questions.routes(engine),
            *files.routes(engine),
            Route("/api/unload", service.unload, methods=["POST"]),
            Route("/v1/models", service.openai_models),
            Route("/v1/models/{model:path}", service.openai_model),
            Route("/api/status", service.status),
            Route("/metrics", service.metrics),
            Route("/api/shutdown", service.shutdown, methods=["POST"]),
        ],
        exception_handlers={
            LLMSpellError: http.answer_error,
            HTTPException: http.answer_unknown,
            Exception: http.answer_surprise,
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
        asked, force = requests.read_unload(await http.json_of(request))
        return JSONResponse({"unloaded": await self._engine.unload(asked, force=force)})
