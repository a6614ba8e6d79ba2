"""What all routes share: reading requests, writing streams and errors."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llmspell_jupyter.engine.api import answers
from llmspell_jupyter.engine.fairness import ServiceClass
from llmspell_jupyter.errors import SEE_LOGS, EngineError, LLMSpellError, RequestError

_log = logging.getLogger(__name__)

# A silent stream tells a client nothing; a comment this often tells it that the engine lives.
_HEARTBEAT_SECONDS = 5.0

_LARGEST_BODY = 16 * 1024 * 1024


async def events(
    first: Any,
    following: Callable[[], Awaitable[Any]],
    write: Callable[[Any], Iterable[dict[str, Any]]],
) -> AsyncGenerator[str, None]:
    """Server-sent events, the last of which is ``[DONE]`` or an error.

    Once it is closed ``following`` does not run any more.

    Args:
        first: The first part; None when there is none.
        following: Gives the next part; None after the last.
        write: Makes the values to send for a part.
    """
    task: asyncio.Future[Any] | None = None
    try:
        part = first
        while part is not None:
            for value in write(part):
                yield f"data: {json.dumps(value)}\n\n"
            task = asyncio.ensure_future(following())
            while not (await asyncio.wait({task}, timeout=_HEARTBEAT_SECONDS))[0]:
                yield ": still here\n\n"
            part = task.result()
        yield "data: [DONE]\n\n"
    except LLMSpellError as error:
        yield f"data: {json.dumps(answers.error_body(error))}\n\n"
    finally:
        if task is not None:
            task.cancel()
            # What gives the parts is free to be closed only then. The server cancels a stream
            # whose client has gone again and again.
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task})


async def json_of(request: Request) -> Any:
    """The body of a request.

    Raises:
        RequestError: It is no JSON, or too large.
    """
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > _LARGEST_BODY:
            raise RequestError(f"The request is larger than {_LARGEST_BODY // 1024**2} MiB.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The body is not JSON: {error}") from None


def client_of(request: Request) -> str:
    """Who asks."""
    name = request.headers.get("x-llmspell-client", "") or request.headers.get("user-agent", "?")
    return name[:100].encode("unicode_escape").decode()


def class_of(request: Request) -> ServiceClass:
    """How much they wait for the answer.

    Raises:
        RequestError: There is no such class.
    """
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


async def answer_error(request: Request, error: Exception) -> Response:
    """The answer to a request that is refused or has failed."""
    assert isinstance(error, LLMSpellError)
    return JSONResponse(answers.error_body(error), status_code=error.status)


async def answer_unknown(request: Request, error: Exception) -> Response:
    """The answer to a request for something that is not there."""
    assert isinstance(error, HTTPException)
    message = f"This engine has no {request.method} {request.url.path}."
    body = {"error": {"message": message, "type": "NotFound", "param": None, "code": None}}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def answer_surprise(request: Request, error: Exception) -> Response:
    """The answer to a request that has failed on a mistake of ours."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(answers.error_body(surprise(error)), status_code=500)


def surprise(error: Exception) -> EngineError:
    """The error that tells of a mistake of ours."""
    return EngineError(
        f"The engine failed: {type(error).__name__}: {error}",
        hint=SEE_LOGS,
    )
