"""Answers that a script holds in a coroutine: who goes on with them, and who ends them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from llmspell_jupyter.errors import Interrupted, ScriptTimeout
from llmspell_jupyter.runtime.host import Printed
from llmspell_jupyter.runtime.runtime import AnswerPart, Runtime
from tests.support.engines import (
    RunningEngine,
    in_this_process,
    runtime_folder,
    started,
    wait_for,
)
from tests.support.stuck import STUCK, shown_last

#: A stream of a minute; ``more()`` gives its next piece of text.
ANSWER = """
local agent = Agent.builder():model("smollm2"):max_tokens(4000):build()
{scope} more = coroutine.wrap(function()
  return agent:invokeStream("Tell me a long story.", coroutine.yield)
end)
return more().index"""


@dataclass
class Room:
    """A runtime, its engine, and what is shown beside the events of scripts."""

    runtime: Runtime
    engine: RunningEngine
    answers: list[AnswerPart]

    def run(self, source: str, timeout: float | None = None) -> Any:
        return self.runtime.start_lua(source, "cell[1]", timeout=timeout).result(60)

    def stop(self, source: str) -> None:
        """Run a script and stop it when it has printed something."""
        execution = self.runtime.start_lua(source, "cell[1]")
        for event in execution.events():
            if isinstance(event, Printed):
                execution.stop("enough")
        with pytest.raises(Interrupted, match=r"^enough$"):
            execution.result()


@pytest.fixture
def room() -> Iterator[Room]:
    with (
        runtime_folder() as environment,
        in_this_process(environment),
        started(environment) as engine,
    ):
        runtime = Runtime()
        made = Room(runtime, engine, [])
        runtime.show = made.answers.append
        yield made
        runtime.reset()
        runtime.engine.close()


def test_an_answer_goes_on_after_another_script_was_stopped(room: Room) -> None:
    assert room.run(ANSWER.format(scope="")) == 1
    with pytest.raises(ScriptTimeout):
        room.run("while true do end", timeout=0.2)
    assert room.run("for _ = 1, 20 do last = more() end return last.index") == 21
    assert len(room.engine.jobs()) == 1
    room.run("more = nil")
    wait_for(lambda: not room.engine.jobs())


def test_an_answer_ends_with_the_script_that_waits_for_it(room: Room) -> None:
    room.run(ANSWER.format(scope=""))
    room.stop("print('more') while true do more() end")
    wait_for(lambda: not room.engine.jobs())


def test_an_answer_ends_with_its_own_callback(room: Room) -> None:
    source = """agent = Agent.builder():model("smollm2"):max_tokens(4000):build()
held = coroutine.create(function()
  agent:invokeStream("Tell me a long story.", function() print('in') while true do end end)
end)
coroutine.resume(held)"""
    room.stop(source)
    wait_for(lambda: not room.engine.jobs())
    assert room.run("return coroutine.status(held)") == "dead"


def test_an_answer_that_is_dropped_is_shown_to_end(room: Room) -> None:
    """When its script is over already, nobody reads its events any more."""
    room.run(ANSWER.format(scope="local"))
    wait_for(lambda: room.answers)
    assert [each.part for each in room.answers] == [None]
    wait_for(lambda: not room.engine.jobs())


def test_an_answer_that_a_reset_ends_is_shown_to_end(room: Room) -> None:
    room.run(ANSWER.format(scope=""))
    assert not room.answers
    room.runtime.reset()
    wait_for(lambda: room.answers)
    assert [each.part for each in room.answers] == [None]


def test_an_answer_ends_when_its_callback_is_stuck(room: Room) -> None:
    source = f"""local agent = Agent.builder():model("smollm2"):max_tokens(4000):build()
agent:invokeStream("Tell me a long story.", function() print('in') {STUCK} end)"""
    assert shown_last(room.engine, source) == "AnswerPart None"
    assert not room.engine.jobs()
