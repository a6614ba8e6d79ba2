"""Pulls that a script holds in a coroutine, and the end of what is shown of a pull."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import Interrupted, ScriptTimeout
from llmspell_jupyter.runtime.host import Printed
from llmspell_jupyter.runtime.local_models import LocalModels
from llmspell_jupyter.runtime.runtime import PullPart, Runtime
from tests.support import hub_server, pulls
from tests.support.engines import (
    RunningEngine,
    in_this_process,
    runtime_folder,
    started,
    wait_for,
)
from tests.support.hub_server import Hub
from tests.support.stuck import STUCK, shown_last

NAME = f"hf.co/{pulls.REPOSITORY}"

#: ``more()`` gives the next progress.
PULL = f"""
{{scope}} more = coroutine.wrap(function()
  return LocalLLM.pull("{NAME}", coroutine.yield)
end)
repeat p = more() until p.bytes_downloaded > 0"""


@dataclass
class Room:
    """A runtime, its engine, a hub that drips, and what is shown beside the events of scripts."""

    runtime: Runtime
    engine: RunningEngine
    hub: Hub
    shown: list[PullPart]

    def run(self, source: str, timeout: float | None = None) -> Any:
        return self.runtime.start_lua(source, "cell[1]", timeout=timeout).result(60)

    def ended(self) -> bool:
        """Whether the end of a pull, and nothing else, is shown."""
        return [each.progress for each in self.shown] == [None]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    places = {"HF_HOME": str(tmp_path / "hf")}
    with (
        hub_server.hub() as hub,
        runtime_folder(**hub.environment, **places) as environment,
        in_this_process(environment),
        started(environment) as engine,
    ):
        hub.add(pulls.REPOSITORY, pulls.files(), license="mit")
        hub.fault(pulls.KEY, "drip", bytes_per_second=20_000)
        runtime = Runtime()
        made = Room(runtime, engine, hub, [])
        runtime.show_pull = made.shown.append
        yield made
        runtime.reset()
        runtime.engine.close()


def test_a_pull_goes_on_after_another_script_was_stopped(room: Room) -> None:
    room.run(PULL.format(scope=""))
    with pytest.raises(ScriptTimeout):
        room.run("while true do end", timeout=0.2)
    (job,) = room.engine.jobs()
    source = "before = p.bytes_downloaded repeat p = more() until p.bytes_downloaded > before"
    room.run(source)
    assert [each["id"] for each in room.engine.jobs()] == [job["id"]]
    room.hub.mend()
    assert room.run("repeat p = more() until p.status == 'complete' return p.status") == "complete"


def test_a_pull_ends_with_the_script_that_waits_for_it(room: Room) -> None:
    room.run(PULL.format(scope=""))
    with pytest.raises(ScriptTimeout):
        room.run("while true do more() end", timeout=0.5)
    wait_for(lambda: not room.engine.jobs())


def test_a_pull_ends_with_its_own_callback(room: Room) -> None:
    execution = room.runtime.start_lua(
        f"""kept = "yes"
held = coroutine.create(function()
  LocalLLM.pull("{NAME}", function() print("in") while true do end end)
end)
coroutine.resume(held)""",
        "cell[1]",
    )
    for event in execution.events():
        if isinstance(event, Printed):
            execution.stop("enough")
    with pytest.raises(Interrupted, match=r"^enough$"):
        execution.result()
    wait_for(lambda: not room.engine.jobs())
    assert room.run("return coroutine.status(held) .. kept") == "deadyes"


def test_a_pull_ends_when_its_callback_is_stuck(room: Room) -> None:
    source = f'LocalLLM.pull("{NAME}", function() print("in") {STUCK} end)'
    assert shown_last(room.engine, source) == "PullPart None"
    assert not room.engine.jobs()


def test_a_pull_that_is_dropped_is_shown_to_end(room: Room) -> None:
    """When its script is over already, nobody reads its events any more."""
    room.run(PULL.format(scope="local"))
    wait_for(room.ended)
    wait_for(lambda: not room.engine.jobs())


def test_a_pull_that_a_reset_ends_is_shown_to_end(room: Room) -> None:
    room.run(PULL.format(scope=""))
    assert not room.shown
    room.runtime.reset()
    wait_for(room.ended)
    wait_for(lambda: not room.engine.jobs())


def test_a_second_interrupt_leaves_nothing_on_the_page(room: Room) -> None:
    """It comes while the end of the job is waited for."""
    models = LocalModels(room.runtime)
    main = threading.main_thread().ident
    assert main is not None
    again = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), models.watching(models.pull(NAME)) as steps:
        next(step for step in steps if step.done)
        room.engine.process.suspend()
        again.start()
        raise KeyboardInterrupt
    assert again.finished.is_set()
    room.engine.process.resume()
    assert room.shown[-1].progress is None
    wait_for(lambda: not room.engine.jobs())
