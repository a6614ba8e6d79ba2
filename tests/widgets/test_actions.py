"""What the browser does beside the notebook starts no engine that nobody asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmspell_jupyter.engine import control
from llmspell_jupyter.runtime.runtime import Runtime
from llmspell_jupyter.types import PullProgress
from llmspell_jupyter.widgets.actions import Actions
from llmspell_jupyter.widgets.entries import Entry
from llmspell_jupyter.widgets.model_browser import ModelBrowser
from llmspell_jupyter.widgets.source import Source
from llmspell_jupyter.widgets.state import State
from tests.support.engines import in_this_process, runtime_folder, wait_for
from tests.support.hub_lab import FILE, repository, small_hub
from tests.support.hub_server import Hub

#: Takes some seconds to load.
SLOW = Entry("echo:slow", "echo:slow", frozenset({"echo:slow"}), "candle", "bundled", True)

NAME = f"hf.co/{repository('red')}:F32"
RED = Entry(NAME, NAME, frozenset({NAME.lower()}), "candle", "hub")


@dataclass
class Room:
    """A browser, and the buttons of one that tell it what they did."""

    hub: Hub
    runtime: Runtime
    browser: ModelBrowser
    actions: Actions
    state: State

    def jobs(self) -> list[dict[str, object]]:
        return (self.runtime.engine.status() or {}).get("jobs", [])

    def settle(self) -> None:
        """Wait for all that was begun."""
        for thread in threading.enumerate():
            if thread.name == "llmspell-browser":
                thread.join(30)
                assert not thread.is_alive()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    places = {"HF_HOME": str(tmp_path / "hf")}
    with (
        small_hub(tmp_path, ["red"]) as hub,
        runtime_folder(**hub.environment, **places) as environment,
        in_this_process(environment),
    ):
        runtime = Runtime()
        source, state, lock = Source(runtime), State(), threading.RLock()
        browser = ModelBrowser(source)
        yield Room(hub, runtime, browser, Actions(source, state, lock, browser), state)
        browser.close()
        runtime.engine.close()


def test_an_engine_that_is_stopped_during_a_load_stays_away(room: Room) -> None:
    room.actions.load(SLOW)
    wait_for(room.jobs)
    assert control.stop(room.runtime.engine)
    room.settle()
    assert control.running() is None
    assert not room.state.activities


def test_an_engine_that_is_stopped_during_a_pull_stays_away(room: Room) -> None:
    room.hub.fault(f"{repository('red')}/{FILE}", "drip", bytes_per_second=6000)
    room.actions.pull(RED)
    wait_for(lambda: any(_has_come(each.progress) for each in room.state.activities.values()))
    assert control.stop(room.runtime.engine)
    room.settle()
    assert control.running() is None
    assert not room.state.activities


def _has_come(progress: object) -> bool:
    return isinstance(progress, PullProgress) and progress.done > 0


def test_looking_again_starts_no_engine(room: Room) -> None:
    room.browser.refresh()
    assert control.running() is None
    assert "smollm2:135m" in room.browser.table(fits=False)


def test_what_was_pulled_is_seen_at_once(room: Room) -> None:
    room.actions.pull(RED)
    room.settle()
    assert repository("red") in room.browser.table(fits=False)
