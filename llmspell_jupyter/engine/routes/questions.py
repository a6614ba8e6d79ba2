"""Addresses at which a model is asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llmspell_jupyter.engine.api import answers, requests
from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.engine.routes.http import (
    class_of,
    client_of,
    events,
    json_of,
    surprise,
)
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import Chunk, Progress, Result

_log = logging.getLogger(__name__)

# What web servers log for a client that did not wait; nobody is there to read it.
_CLIENT_GONE = 499

_Part = Progress | Chunk | Result


def routes(engine: Engine) -> list[Route]:
    """The addresses, for this engine."""
    return [
        Route(path, partial(_ask, engine, endpoint), methods=["POST"])
        for path, endpoint in answers.ENDPOINTS.items()
    ]


async def _ask(engine: Engine, endpoint: answers.Endpoint, request: Request) -> Response:
    body = requests.read(await json_of(request), endpoint.body)
    form = endpoint.form(body)
    answer = _Answer(engine.answer(body.request, client_of(request), class_of(request)))
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
            self._parts.put_nowait(surprise(error))
        finally:
            self._parts.put_nowait(None)


class _Stream(StreamingResponse):
    """An answer as server-sent events; cancelled whenever and however the response ends."""

    def __init__(self, answer: _Answer, first: _Part | None, form: answers.Form):
        super().__init__(events(first, answer.next, form.values), media_type="text/event-stream")
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
