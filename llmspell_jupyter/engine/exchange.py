"""A request to the engine and its answer, on an event loop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from llmspell_jupyter.engine import start
from llmspell_jupyter.engine.api import calls
from llmspell_jupyter.engine.connection import Connection
from llmspell_jupyter.errors import (
    SEE_LOGS,
    EngineDied,
    EngineError,
    EngineUnavailable,
    LLMSpellError,
)

#: The engine sends a sign of life every five seconds.
SILENCE_SECONDS = 30.0

# Connecting, and handing over a request, to a process of this machine.
_CONNECT_SECONDS = 5.0

#: Looks for the engine, or starts it; None when none runs.
Find = Callable[[], Awaitable[Connection | None]]

#: The error for an engine that went away: it ended, or was silent for so many seconds.
Lost = Callable[[Connection, float | None], LLMSpellError]


@dataclass(frozen=True, slots=True)
class Ask:
    """What to ask the engine for.

    Attributes:
        method: As HTTP has it.
        path: Where, with its query.
        body: JSON values to send; None sends none. Never shown.
        seconds: Longest silence before the answer and within it.
    """

    method: Literal["GET", "POST"]
    path: str
    body: dict[str, Any] | None = field(default=None, repr=False)
    seconds: float = SILENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has begun, and who gives it."""

    engine: Connection
    response: httpx.Response


def _lost(engine: Connection, silent: float | None) -> LLMSpellError:
    how = "ended while it worked" if silent is None else f"did not answer within {silent:.0f} s"
    return EngineDied(
        f"The engine (process {engine.pid}) {how}.", hint=SEE_LOGS, data={"pid": engine.pid}
    )


@asynccontextmanager
async def answer(find: Find, ask: Ask, lost: Lost = _lost) -> AsyncIterator[Answer | None]:
    """The engine's answer as it comes; None when no engine runs.

    Args:
        find: Finds the engine; called once more when the one that it found has ended since.
        ask: The request.
        lost: The error for an engine that goes away, also while the answer is read.

    Raises:
        LLMSpellError: The engine refuses the request, goes away, or takes no connection.
    """
    async with AsyncExitStack() as stack:
        found = await _begun(stack, find, ask, lost)
        if found is None:
            yield None
            return
        try:
            if found.response.is_error:
                await found.response.aread()
                raise _refusal(found.response)
            yield found
        except httpx.TransportError as error:
            raise lost(found.engine, _silence(error, ask)) from None


async def values(find: Find, ask: Ask) -> dict[str, Any] | None:
    """The JSON values that the engine answers; otherwise as ``answer``."""
    async with answer(find, ask) as found:
        if found is None:
            return None
        await found.response.aread()
        told: dict[str, Any] = found.response.json()
        return told


async def _begun(stack: AsyncExitStack, find: Find, ask: Ask, lost: Lost) -> Answer | None:
    was_refused = False
    while (engine := await find()) is not None:
        try:
            return await _sent(stack, engine, ask, lost)
        except httpx.ConnectError:
            # It has ended since it was found. Nothing was sent: the next one can be asked as well.
            if was_refused:
                raise EngineUnavailable(
                    f"The engine (process {engine.pid}) takes no connection.",
                    hint=SEE_LOGS,
                    data={"pid": engine.pid},
                ) from None
            was_refused = True
    return None


async def _sent(stack: AsyncExitStack, engine: Connection, ask: Ask, lost: Lost) -> Answer:
    client = await stack.enter_async_context(start.http_client(engine))
    try:
        response = await stack.enter_async_context(
            client.stream(
                ask.method,
                ask.path,
                # Not httpx's json, which fails on what the engine refuses with a reason: NaN, and
                # halves of characters.
                content=None if ask.body is None else json.dumps(ask.body),
                headers=None if ask.body is None else {"Content-Type": "application/json"},
                timeout=httpx.Timeout(_CONNECT_SECONDS, read=ask.seconds),
            )
        )
    except httpx.ConnectError:
        raise
    except httpx.TransportError as error:
        raise lost(engine, _silence(error, ask)) from None
    return Answer(engine, response)


def _silence(error: httpx.TransportError, ask: Ask) -> float | None:
    if not isinstance(error, httpx.TimeoutException):
        return None
    return ask.seconds if isinstance(error, httpx.ReadTimeout) else _CONNECT_SECONDS


def _refusal(response: httpx.Response) -> LLMSpellError:
    try:
        return calls.error(response.json())
    except (ValueError, KeyError, TypeError):
        return EngineError(f"The engine answered {response.status_code}.", hint=SEE_LOGS)
