from __future__ import annotations

import asyncio

import pytest

from llmspell_jupyter.engine.backend import Embedded, Event, Finished, Reading, Token
from llmspell_jupyter.engine.charges import Charges
from llmspell_jupyter.engine.queue import Queue


def usage(prompt: int, cached: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "completion_tokens": completion,
    }


@pytest.mark.parametrize(
    ("events", "charged"),
    [
        ([Reading("r", 4, 9), Reading("r", 9, 9), Token("r", "a", 1), Token("r", "b", 2)], [4, 9, 10, 11]),
        ([Reading("r", 60, 64, 50), Reading("r", 64, 64, 50), Token("r", "a", 1)], [10, 14, 15]),
        ([Token("r", "a", 1), Finished("r", "stop", usage=usage(7, 2, 3))], [1, 8]),
        ([Reading("r", 9, 9), Finished("r", "stop", usage=usage(9, 0, 4))], [9, 13]),
        ([Reading("r", 9, 9), Finished("r", "stop", usage=usage(9, 8, 1))], [9, 9]),
        ([Reading("r", 3, 5), Embedded("r", (), {"prompt_tokens": 5, "cached_tokens": 0})], [3, 5]),
        ([Finished("r", "cancelled")], [0]),
    ],
)  # fmt: skip
def test_what_is_charged_after_each_event(events: list[Event], charged: list[int]) -> None:
    async def run() -> None:
        queue = Queue(8)
        with queue.join("kernel 1") as ticket:
            charges = Charges(ticket)
            for event, total in zip(events, charged, strict=True):
                charges.note(event)
                assert queue.snapshot()["clients"][0]["tokens"] == total

    asyncio.run(run())
