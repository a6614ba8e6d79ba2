"""Loads that nobody wants any more, and models that leave while they load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import psutil
import pytest

from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.engine.post import Bounds
from llmspell_jupyter.errors import Interrupted
from llmspell_jupyter.types import (
    Completion,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Phase,
    Progress,
)
from tests.support.engines import PATIENCE, gone_within

SLOW = "echo:slow"
SOON = 2.0

#: Requests that have a seat at a time.
SEATS = LoadOptions().max_concurrent


def run(test: Callable[[Engine], Awaitable[None]], **bounds: Any) -> None:
    """Run a test with an engine of this process, as it is served."""

    async def whole() -> None:
        engine = Engine(Bounds(**bounds))
        tidying = asyncio.create_task(engine.supervisor.tidy())
        try:
            await test(engine)
        finally:
            tidying.cancel()
            await engine.close()

    asyncio.run(asyncio.wait_for(whole(), 2 * PATIENCE))


async def ask(engine: Engine, number: int = 0) -> list[Any]:
    request = GenerationRequest(SLOW, prompt="hello")
    return [part async for part in engine.answer(request, f"test {number}")]


@asynccontextmanager
async def loading(engine: Engine, count: int) -> AsyncIterator[list[asyncio.Task[list[Any]]]]:
    """So many requests for a model whose process loads it."""
    asking = [asyncio.create_task(ask(engine, number)) for number in range(count)]
    # Looks between any two steps of the engine, which no event of its could do.
    while not (len(list(engine.jobs)) == count and _process(engine)):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    yield asking
    for each in asking:
        each.cancel()
    await asyncio.wait(asking)


def _process(engine: Engine) -> psutil.Process | None:
    pids = [each["pid"] for each in engine.status()["workers"] if each["state"] == "loading"]
    return psutil.Process(pids[0]) if pids and pids[0] else None


@pytest.mark.parametrize("count", [1, SEATS, SEATS + 1, 3 * SEATS])
@pytest.mark.parametrize("first", ["oldest", "newest"])
def test_a_load_that_all_leave_at_once_is_given_up(count: int, first: str) -> None:
    async def test(engine: Engine) -> None:
        async with loading(engine, count) as asking:
            process = _process(engine)
            assert process is not None
            for each in asking if first == "oldest" else reversed(asking):
                each.cancel()
            await asyncio.wait(asking)
            assert engine.status()["workers"] == []
            assert await asyncio.to_thread(gone_within, [process], SOON)

    run(test)


def test_who_waits_in_the_queue_keeps_the_load() -> None:
    async def test(engine: Engine) -> None:
        async with loading(engine, SEATS + 1) as asking:
            process = _process(engine)
            *others, last = asking
            for each in others:
                each.cancel()
            answer = (await last)[-1]
            assert isinstance(answer, Completion) and answer.text == "hello"
            (worker,) = engine.status()["workers"]
            assert process is not None and worker["pid"] == process.pid

    run(test)


def test_a_model_whose_loaders_have_left_leaves_in_its_time() -> None:
    async def test(engine: Engine) -> None:
        parts = engine.answer(LoadRequest(SLOW), "test")
        async for part in parts:
            if isinstance(part, Progress) and part.phase is Phase.LOADING and part.done == 1000:
                await parts.aclose()
                break
        while engine.status()["workers"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    run(test, model_ttl_seconds=0.1)


@pytest.mark.parametrize("count", [1, SEATS + 1])
def test_what_is_unloaded_while_it_loads_was_loaded(count: int) -> None:
    async def test(engine: Engine) -> None:
        async with loading(engine, count) as asking:
            process = _process(engine)
            assert process is not None
            assert await engine.unload(LoadRequest(SLOW), force=True) == 1
            assert not process.is_running()
            for each in asking:
                with pytest.raises(Interrupted, match="was unloaded"):
                    await each
            assert await engine.unload(LoadRequest(SLOW), force=True) == 0

    run(test)


def test_what_is_unloaded_while_it_answers_was_loaded() -> None:
    async def test(engine: Engine) -> None:
        words = GenerationRequest(SLOW, prompt="word " * 4000, max_tokens=4000)
        answer = engine.answer(words, "test")
        async for part in answer:
            if not isinstance(part, Progress):
                break
        async with asyncio.timeout(SOON):
            unloading = asyncio.create_task(engine.unload(LoadRequest(SLOW), force=True))
            with suppress(Interrupted):
                async for _ in answer:
                    pass
            assert await unloading == 1

    run(test)
