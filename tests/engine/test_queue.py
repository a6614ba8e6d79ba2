from __future__ import annotations

import asyncio
import contextlib
import random
import time
from contextlib import ExitStack
from typing import Any

import pytest

from llmspell_jupyter.engine.queue import Queue
from llmspell_jupyter.errors import EngineBusy
from tests.support.engines import ENDLESS, RunningEngine, engine, wait_for

LIMIT = 2


def test_first_come_first_served() -> None:
    order: list[int] = []
    ahead: dict[int, list[int]] = {}

    async def one(queue: Queue, number: int) -> None:
        with queue.join() as ticket:
            ahead[number] = [each async for each in ticket.wait()]
            await asyncio.sleep(0)
            order.append(number)

    async def run() -> None:
        queue = Queue(limit=10)
        await asyncio.gather(*(one(queue, number) for number in range(5)))
        assert len(queue) == 0

    asyncio.run(run())
    assert order == [0, 1, 2, 3, 4]
    # Nobody hears of a place that is not nearer than the one before.
    assert all(places == sorted(set(places), reverse=True) for places in ahead.values())
    assert ahead[0] == [] and ahead[4][0] == 4


@pytest.mark.parametrize("seed", range(5))
def test_whoever_leaves_makes_room_and_nobody_waits_for_the_gone(seed: int) -> None:
    random_ = random.Random(seed)
    served: list[int] = []
    inside = 0

    async def one(queue: Queue, number: int) -> None:
        nonlocal inside
        with queue.join() as ticket:
            async for _ in ticket.wait():
                pass
            inside += 1
            assert inside == 1, "two at once"
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
                served.append(number)
            inside -= 1

    async def run() -> None:
        queue = Queue(limit=50)
        tasks = [asyncio.create_task(one(queue, number)) for number in range(40)]
        await asyncio.sleep(0)
        gone = random_.sample(range(40), 15)
        for number in gone:
            tasks[number].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert len(queue) == 0
        assert [each for each in range(40) if each not in gone] == [
            each for each in served if each not in gone
        ]

    asyncio.run(run())


def test_a_full_queue_says_so_at_once() -> None:
    async def run() -> None:
        queue = Queue(LIMIT)
        with ExitStack() as stack:
            for _ in range(LIMIT + 1):  # One runs, the others wait.
                stack.enter_context(queue.join())
            with pytest.raises(EngineBusy) as caught:
                queue.join()
            assert caught.value.data == {"waiting": LIMIT}
        with queue.join():
            assert len(queue) == 1

    asyncio.run(run())


@pytest.fixture(scope="module")
def small() -> Any:
    with engine(LLMSPELL_ENGINE_QUEUE_LIMIT=str(LIMIT)) as running:
        yield running


def test_a_second_request_sees_its_place_and_gets_its_turn(small: RunningEngine) -> None:
    body = ENDLESS | {"max_tokens": 2, "llmspell": {"progress": True}}
    with ExitStack() as stack:
        first = ExitStack()
        stack.enter_context(first)
        first.enter_context(small.answering())
        second = stack.enter_context(small.stream("/v1/completions", body))
        assert next(second)["llmspell"] == {
            "progress": {"phase": "queued", "done": 1, "total": None}
        }
        assert [job["ahead"] for job in small.jobs() if job["phase"] == "queued"] == [1]
        assert [each["waiting"] for each in small.status()["workers"]] == [1]
        first.close()
        assert next(second)["llmspell"]["progress"]["phase"] == "reading the prompt"
        assert list(second)[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [True, False])
def test_beyond_the_limit_a_request_is_refused_at_once(small: RunningEngine, stream: bool) -> None:
    waiting = ENDLESS | {"max_tokens": 1, "llmspell": {"progress": True}}
    with ExitStack() as stack:
        stack.enter_context(small.answering())
        others = [
            stack.enter_context(small.stream("/v1/completions", waiting)) for _ in range(LIMIT)
        ]
        assert all(next(each)["llmspell"]["progress"]["phase"] == "queued" for each in others)
        started = time.monotonic()
        refused = small.complete(**ENDLESS, stream=stream)
        assert time.monotonic() - started < 2
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "EngineBusy"
        assert refused.json()["error"]["llmspell"]["data"] == {"waiting": LIMIT}
        # Another model has a queue of its own.
        assert small.chat("hello").status_code == 200
    wait_for(lambda: not small.jobs())
    assert small.complete(**ENDLESS | {"max_tokens": 1}).status_code == 200
