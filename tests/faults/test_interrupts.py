"""Ctrl-C in a kernel at thirty moments: the cell is back, and the next answer is right (E5)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from llmspell_jupyter.types import Phase
from tests.support.engines import (
    SMOLLM2,
    RunningEngine,
    attach,
    in_this_process,
    runtime_folder,
    wait_for,
)
from tests.support.kernels import Notebook, notebook

# Twice what is promised: the machine that runs this may be busy.
SECONDS = 2.0

#: From the next question to its answer; what was stopped would take longer than that.
NEXT = 5.0

STORY = """%%lua
print("running")
local agent = Agent.builder():model("smollm2"):temperature(0):max_tokens(2000):build()
agent:invokeStream("Tell me a very long story about the sea.", function(c) io.write(c.text) end)"""

LONG_PROMPT = """%%lua
print("running")
local agent = Agent.builder():model("smollm2"):max_tokens(8):build()
agent:execute(string.rep("The sea is wide and the ships are small. ", 350))"""

LOAD = "print('running')\n%model_load smollm2"

# Few words: those that follow differ from processor to processor.
ANSWER = (
    "%lua Agent.builder():model('smollm2'):temperature(0):max_tokens(5)"
    ":system_prompt('You are a helpful assistant.'):build()"
    ":complete('Give me a one-sentence definition of gravity.')"
)


@dataclass
class Room:
    """A kernel, and a look into its engine."""

    book: Notebook
    engine: RunningEngine

    def interrupted(self, cell: str, moment: Callable[[], object]) -> float:
        """Seconds from Ctrl-C at that moment to the end of the cell."""
        struck = 0.0

        def strike() -> None:
            nonlocal struck
            wait_for(moment)
            struck = time.monotonic()
            self.book.interrupt()

        output = self.book.run(cell, until=lambda so_far: bool(so_far.stdout), then=strike)
        assert output.error == "Interrupted", output
        return time.monotonic() - struck

    def is_right(self, answer: str) -> bool:
        """Whether the next answer is, and does not wait for what was stopped."""
        wait_for(lambda: not self.engine.jobs(), SECONDS)
        output = self.book.good(ANSWER)
        return output.value == answer and output.seconds < NEXT


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with (
        runtime_folder(JPY_PARENT_PID=str(os.getpid())) as environment,
        in_this_process(environment),
        notebook() as book,
    ):
        book.good("%model_load smollm2")
        running = attach(environment)
        assert running is not None
        yield Room(book, running)
        running.http.close()


@pytest.fixture(scope="module")
def answer(room: Room) -> str:
    right = room.book.value(ANSWER)
    assert right.startswith("'Gravity is")
    return right


def is_in(room: Room, phase: Phase, tenths: int = 0) -> Callable[[], bool]:
    """Whether anything is in this phase that was asked for so many tenths of a second ago."""

    def come() -> bool:
        jobs = room.engine.jobs()
        return any(job["phase"] == phase and job["seconds"] >= tenths / 10 for job in jobs)

    return come


def written(room: Room, tokens: int) -> Callable[[], bool]:
    """Whether an answer has so many tokens."""

    def come() -> bool:
        return any(job["tokens"] >= tokens for job in room.engine.jobs())

    return come


def test_while_a_prompt_is_read(room: Room, answer: str) -> None:
    for tenths in range(10):
        assert room.interrupted(LONG_PROMPT, is_in(room, Phase.READING, tenths)) < SECONDS
        assert room.is_right(answer)


def test_while_an_answer_is_written(room: Room, answer: str) -> None:
    for tokens in range(1, 31, 3):
        assert room.interrupted(STORY, written(room, tokens)) < SECONDS
        assert room.is_right(answer)


@pytest.mark.parametrize("cell", [STORY, LOAD], ids=["for an answer", "for itself"])
def test_while_a_model_loads(room: Room, answer: str, cell: str) -> None:
    for _ in range(3):
        room.engine.http.post("/api/unload", json={"model": SMOLLM2}).raise_for_status()
        assert room.interrupted(cell, is_in(room, Phase.LOADING)) < SECONDS
        wait_for(lambda: not room.engine.status()["workers"], SECONDS)
    assert room.is_right(answer)


def test_while_others_are_answered(room: Room, answer: str) -> None:
    seats = room.engine.status()["workers"][0]["queue"]["seats"]
    with ExitStack() as stack:
        # All of them have room in the context that they share.
        for _ in range(seats):
            stack.enter_context(room.engine.answering(max_tokens=900))
        for _ in range(4):
            assert room.interrupted(STORY, is_in(room, Phase.QUEUED)) < SECONDS
    assert room.is_right(answer)
