"""What happens around a cell while it waits: killed workers, killed engines, restarted kernels."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.kernels import Notebook, notebook

STORY = """%%lua
local agent = Agent.builder():model("smollm2"):temperature(0):max_tokens(2000):build()
agent:invokeStream("Tell me a very long story about the sea.", function(c) io.write(c.text) end)"""

WORKER = "runtime.current().engine.status()['workers'][0]['pid']"
ENGINE = "runtime.current().engine.status()['pid']"


@pytest.fixture
def private_book(tmp_path: Path) -> Iterator[Notebook]:
    """A kernel whose engine nobody else uses."""
    with notebook(JUPYTER_RUNTIME_DIR=str(tmp_path)) as book:
        book.good("from llmspell_jupyter.runtime import runtime")
        yield book
        book.good("runtime.current().engine.shutdown()")


def _warm(book: Notebook) -> None:
    book.good("%%lua\nAgent.builder():model('smollm2'):max_tokens(1):build():complete('Hello')")


def test_the_worker_is_killed(private_book: Notebook) -> None:
    """E2."""
    _warm(private_book)
    private_book.good("%%lua\nkept = 'yes'")
    engine, worker = (int(private_book.value(each)) for each in (ENGINE, WORKER))
    output = private_book.run(
        STORY,
        until=lambda output: bool(output.stdout),
        then=lambda: os.kill(worker, signal.SIGKILL),
    )
    assert output.error == "WorkerDied"
    assert output.seconds < 2
    assert "SIGKILL" in output.traceback
    assert "Run the cell again" in output.traceback
    _warm(private_book)
    assert private_book.value("%lua kept") == "'yes'"
    assert int(private_book.value(ENGINE)) == engine
    assert int(private_book.value(WORKER)) != worker


def test_the_engine_is_killed(private_book: Notebook) -> None:
    """E2."""
    _warm(private_book)
    private_book.good("%%lua\nkept = 'yes'")
    engine = int(private_book.value(ENGINE))
    family = psutil.Process(engine).children(recursive=True)
    output = private_book.run(
        STORY,
        until=lambda output: bool(output.stdout),
        then=lambda: os.kill(engine, signal.SIGKILL),
    )
    assert output.error == "EngineDied"
    assert output.seconds < 2
    assert "Run the cell again" in output.traceback
    assert not psutil.wait_procs(family, timeout=5)[1]
    _warm(private_book)
    assert private_book.value("%lua kept") == "'yes'"
    assert int(private_book.value(ENGINE)) != engine


def test_the_engine_is_looked_after_from_a_cell(private_book: Notebook) -> None:
    _warm(private_book)
    engine = private_book.value(ENGINE)
    assert "llmspell_jupyter" in private_book.good("%llmspell_engine logs").stdout
    assert private_book.good("%llmspell_engine stop").stdout == (
        f"The engine (process {engine}) has ended.\n"
    )
    assert private_book.good("%llmspell_engine stop").stdout == "No engine is running.\n"
    assert "not running" in private_book.good("%llmspell_status").stdout
    assert "not running" in private_book.good("%llmspell_engine").stdout
    assert "stop" in private_book.run("%llmspell_engine start").stderr


def test_the_log_shows_no_terminal_codes(private_book: Notebook, tmp_path: Path) -> None:
    """O4: libraries write into it what model files say."""
    _warm(private_book)
    with (tmp_path / "llmspell-engine.log").open("a", encoding="utf-8") as log:
        log.write("said: \x1b[2J\u202e" + "x" * 3_000_000 + "\n")
    shown = private_book.good("%llmspell_engine logs").stdout
    assert "\nsaid: \\x1b[2J\\u202exxx" in shown and len(shown) < 200_000
    assert all(each.isprintable() or each == "\n" for each in shown)


def test_a_restarted_kernel_finds_its_model_warm(private_book: Notebook) -> None:
    _warm(private_book)
    engine, worker = (int(private_book.value(each)) for each in (ENGINE, WORKER))
    private_book.restart()
    private_book.good("%load_ext llmspell_jupyter")
    private_book.good("from llmspell_jupyter.runtime import runtime")
    _warm(private_book)
    assert int(private_book.value(ENGINE)) == engine
    assert int(private_book.value(WORKER)) == worker


def test_a_killed_kernel_frees_the_model(private_book: Notebook, tmp_path: Path) -> None:
    """E4."""
    _warm(private_book)
    with notebook(JUPYTER_RUNTIME_DIR=str(tmp_path)) as other:
        other.good("import os, signal")
        pid = int(other.value("os.getpid()"))
        other.client.execute(STORY)
        while other.client.get_iopub_msg(timeout=30)["msg_type"] != "stream":
            pass
        os.kill(pid, signal.SIGKILL)
        answer = private_book.good(
            "%%lua\nAgent.builder():model('smollm2'):max_tokens(1):build():complete('Hi')"
        )
        assert answer.seconds < 4


def test_the_engine_ends_with_its_server(tmp_path: Path) -> None:
    """A notebook that is run headless leaves no process."""
    import subprocess
    import sys

    program = (
        "from llmspell_jupyter import Agent\n"
        "from llmspell_jupyter.runtime.runtime import current\n"
        "Agent.builder().model('smollm2').max_tokens(1).build().complete('Hello')\n"
        "print(current().engine.status()['pid'])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"JUPYTER_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    try:
        engine = psutil.Process(int(output))
        family = [engine, *engine.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert not list(tmp_path.glob("*.json"))
