"""Pulls from a cell that are stopped, left behind and gone on with: real kernels, hub and engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.support import hub_server, tiny_gguf
from tests.support.engine_proxy import engine_proxy
from tests.support.engines import RunningEngine, runtime_folder, started, wait_for
from tests.support.hub_server import Hub
from tests.support.kernels import Output, notebook

REPOSITORY = "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF"
FILE = "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"
KEY = f"{REPOSITORY}/{FILE}"
ID = "tinyllama:Q4_K_M"
MIB = 1024**2

# Twice what is promised: the machine that runs this may be busy.
SECONDS = 2.0

PULL = "%model_pull tinyllama:Q4_K_M@candle"


@dataclass
class Room:
    """A hub that drips, and an engine that this process owns."""

    hub: Hub
    engine: RunningEngine
    size: int

    def drip(self) -> None:
        """Let the file take half a minute."""
        self.hub.fault(KEY, "drip", bytes_per_second=200_000)

    def came(self) -> bool:
        """Whether enough has come to see whether it is fetched again."""
        return any(each["progress"]["done"] > MIB for each in self.engine.jobs())


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    numbers = np.random.default_rng(1).standard_normal(3 * MIB).astype(np.float32)
    weights = tiny_gguf.write_tiny_gguf(
        tmp_path / "tiny.gguf",
        change=lambda writer: writer.add_tensor("extra.weight", numbers),
    )
    places = {"HF_HOME": str(tmp_path / "hf"), "OLLAMA_MODELS": str(tmp_path / "ollama")}
    with (
        hub_server.hub() as hub,
        runtime_folder(**hub.environment, **places) as environment,
        started(environment) as engine,
    ):
        hub.add(REPOSITORY, {FILE: Path(weights)})
        yield Room(hub, engine, Path(weights).stat().st_size)


def _downloading(output: Output) -> bool:
    return "downloading" in output.stdout


def test_ctrl_c_ends_the_cell_and_the_pull_and_the_same_line_goes_on(room: Room) -> None:
    room.drip()
    with notebook(**room.engine.environment) as book:
        request = book.begin(PULL)
        wait_for(room.came)
        output = book.finish(request, until=_downloading, then=book.interrupt)
        assert output.error == "Interrupted" and output.seconds < SECONDS
        assert f"The same line goes on: {PULL}" in output.traceback
        assert "Traceback" not in output.traceback
        assert output.stdout.splitlines()[-1] == f"{ID} · stopped"
        wait_for(lambda: not room.engine.jobs())
        room.hub.mend()
        served = room.hub.served(KEY)
        assert f"{ID} is ready: " in book.good(PULL).stdout
        assert room.hub.served(KEY) - served < room.size - MIB


def test_ctrl_c_before_the_engine_has_answered_ends_the_pull_all_the_same(room: Room) -> None:
    room.drip()
    with engine_proxy(room.engine) as proxy, notebook(**room.engine.environment) as book:
        held = proxy.hold("POST /api/pull")
        request = book.begin(PULL)
        wait_for(room.engine.jobs)
        book.interrupt()
        output = book.finish(request)
        assert output.error == "Interrupted"
        assert f"The same line goes on: {PULL}" in output.traceback
        assert "has not ended its job yet" in output.stdout
        assert "%llmspell_status" in output.stdout
        assert room.engine.jobs()
        held.set()
        wait_for(lambda: not room.engine.jobs())


def test_in_the_background_it_outlives_the_kernel(room: Room) -> None:
    room.drip()
    with notebook(**room.engine.environment) as book:
        output = book.good(f"{PULL} --background")
        (job,) = room.engine.jobs()
        assert job["id"] in output.stdout and "%llmspell_status" in output.stdout
        wait_for(room.came)
        status = book.good("%llmspell_status").stdout
        assert " MB of " in status and " %" in status and "TOKENS" not in status
        os.kill(int(book.value("import os; os.getpid()")), signal.SIGKILL)
        done = room.engine.jobs()[0]["progress"]["done"]
        wait_for(lambda: room.engine.jobs()[0]["progress"]["done"] > done)
    with notebook(**room.engine.environment) as book:
        request = book.begin(PULL)
        wait_for(lambda: room.engine.jobs()[0]["viewers"])
        assert [each["id"] for each in room.engine.jobs()] == [job["id"]]
        room.hub.mend()
        output = book.finish(request)
        assert output.error is None, output.traceback
        assert f"{ID} is ready: " in output.stdout
    assert room.hub.served(KEY) < 1.1 * room.size + 4 * MIB


def test_a_script_that_is_stopped_cancels_its_pull(room: Room) -> None:
    room.drip()
    with notebook(**room.engine.environment) as book:
        request = book.begin(
            f'%%lua\nlast = {{}}\nLocalLLM.pull("{ID}@candle", function(p) last = p end)'
        )
        wait_for(room.came)
        output = book.finish(request, until=_downloading, then=book.interrupt)
        assert output.error == "Interrupted" and output.seconds < SECONDS
        wait_for(lambda: not room.engine.jobs())
        assert book.value("%lua last.status") == "'downloading'"
        assert int(book.value("%lua last.bytes_total")) == room.size
        # What the script was told last; it may be a little behind.
        assert 0 < int(book.value("%lua last.bytes_downloaded")) < room.size
        assert 0 <= int(book.value("%lua last.percent")) < 100


def test_a_callback_that_raises_leaves_nothing_running(room: Room) -> None:
    room.drip()
    with notebook(**room.engine.environment) as book:
        source = f'LocalLLM.pull("{ID}@candle", function(p) error("enough") end)'
        output = book.run(f"%%lua\n{source}")
        assert output.error == "ScriptError" and "enough" in output.traceback
        wait_for(lambda: not room.engine.jobs())
        output = book.run(f"%%lua\nreturn pcall(function() {source} end)")
        assert "enough" in str(output.value)
        wait_for(lambda: not room.engine.jobs())
        output = book.run(
            f"from llmspell_jupyter import LocalLLM\nLocalLLM.pull('{ID}@candle', lambda p: 1 / 0)"
        )
        assert output.error == "ZeroDivisionError"
        wait_for(lambda: not room.engine.jobs())
