"""The live line, fed by Python threads that ask at the same time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmspell_jupyter.magics.live import LiveLine
from llmspell_jupyter.runtime.runtime import AnswerPart
from llmspell_jupyter.types import Chunk, Phase, Progress

THREADS = 8


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads give way to each other as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_may_ask_at_the_same_time(hasty: None, capsys: pytest.CaptureFixture[str]) -> None:
    line = LiveLine(lambda: 1, enabled=lambda: True)

    def answers(thread: int) -> None:
        for number in range(200):
            answer = thread * 1000 + number
            line.show(
                AnswerPart(answer, f"model {thread}", Progress(Phase.LOADING, note="careful"))
            )
            line.show(AnswerPart(answer, f"model {thread}", Chunk("word", 1)))
            line.show(AnswerPart(answer, f"model {thread}", None))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(answers, range(THREADS)))
    # All answers are over: what stays is one note for each model.
    last = capsys.readouterr().out.splitlines()[-1]
    assert "answering" not in last
    assert [last.count(f"model {each} · careful") for each in range(THREADS)] == [1] * THREADS
