"""Addresses for model files, and for the jobs that fetch and check them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from llmspell_jupyter.engine import messages
from llmspell_jupyter.engine.api import model_requests
from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.engine.pull_job import PullJob
from llmspell_jupyter.engine.routes.http import client_of, events, json_of
from llmspell_jupyter.types import PullProgress


def routes(engine: Engine) -> list[Route]:
    """The addresses, for this engine."""
    service = _Files(engine)
    return [
        Route("/api/models", service.models),
        Route("/api/pull", service.pull, methods=["POST"]),
        Route("/api/verify", service.verify, methods=["POST"]),
        Route("/api/jobs/{job}/events", service.follow),
        Route("/api/jobs/{job}/cancel", service.cancel, methods=["POST"]),
        Route("/api/available", service.available, methods=["POST"]),
        Route("/api/info", service.info, methods=["POST"]),
        Route("/api/remove", service.remove, methods=["POST"]),
        Route("/api/gc", service.collect, methods=["POST"]),
        Route("/api/fit", service.fit, methods=["POST"]),
        Route("/api/ollama", service.ollama, methods=["POST"]),
    ]


class _Files:
    def __init__(self, engine: Engine):
        self._engine = engine
        self._files = engine.files

    async def models(self, request: Request) -> Response:
        asked = request.query_params
        lookup = model_requests.places(
            {
                "llmspell": {
                    "lookup": {
                        "folders": asked.getlist("folder"),
                        "caches": asked.getlist("cache"),
                        "catalogs": asked.getlist("catalog"),
                        "ollama_store": asked.get("ollama_store", ""),
                    }
                }
            }
        ).lookup
        models = await asyncio.to_thread(self._engine.models, lookup)
        return JSONResponse({"models": [messages.model_to_wire(model) for model in models]})

    async def pull(self, request: Request) -> Response:
        asked, background = model_requests.pull(await json_of(request))
        return _answer(await self._files.pull(asked, client_of(request)), background)

    async def verify(self, request: Request) -> Response:
        asked, background = model_requests.verify(await json_of(request))
        job = await self._files.verify(asked.model, asked.lookup, client_of(request))
        return _answer(job, background)

    async def follow(self, request: Request) -> Response:
        return _answer(self._files.pulls.find(request.path_params["job"]), background=False)

    async def cancel(self, request: Request) -> Response:
        job = request.path_params["job"]
        # Most who cancel send no body.
        asked = await json_of(request) if request.headers.get("content-length", "0") != "0" else {}
        if not model_requests.cancel(asked):
            return JSONResponse({"cancelled": self._engine.cancel(job)})
        cancelled, freed = await self._files.pulls.discard(job)
        return JSONResponse({"cancelled": cancelled, "discarded": freed})

    async def available(self, request: Request) -> Response:
        asked, backend, search = model_requests.available(await json_of(request))
        return JSONResponse(
            await self._files.available(backend, search, asked.sources, asked.lookup)
        )

    async def info(self, request: Request) -> Response:
        asked = model_requests.model(await json_of(request))
        return JSONResponse(await self._files.info(asked.model, asked.lookup, asked.sources))

    async def remove(self, request: Request) -> Response:
        asked = model_requests.model(await json_of(request))
        freed = await self._files.remove(asked.model, asked.lookup, asked.sources)
        return JSONResponse({"model": asked.model, "bytes": freed})

    async def fit(self, request: Request) -> Response:
        asked, options = model_requests.fit(await json_of(request))
        fit = await self._engine.fit(asked.model, options, asked.lookup, asked.sources)
        return JSONResponse(asdict(fit))

    async def ollama(self, request: Request) -> Response:
        asked = model_requests.places(await json_of(request))
        return JSONResponse(await self._files.ollama(asked.sources))

    async def collect(self, request: Request) -> Response:
        asked, dry_run = model_requests.garbage(await json_of(request))
        garbage = await self._files.collect(asked.lookup, dry_run=dry_run)
        return JSONResponse({"garbage": garbage, "dry_run": dry_run})


def _answer(job: PullJob, background: bool) -> Response:
    """The job's progress as a stream, or just where it stands."""
    if background:
        return JSONResponse(messages.pull_to_wire(job.progress))
    return StreamingResponse(_lines(job), media_type="text/event-stream")


async def _lines(job: PullJob) -> AsyncIterator[str]:
    async with aclosing(job.watch()) as steps:

        async def following() -> PullProgress | None:
            return await anext(steps, None)

        async with aclosing(events(await following(), following, _values)) as lines:
            async for line in lines:
                yield line


def _values(progress: PullProgress) -> Iterator[dict[str, Any]]:
    yield messages.pull_to_wire(progress)
