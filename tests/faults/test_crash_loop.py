"""A model whose process dies again and again: it is given up soon, and comes back when asked (E3)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmspell_jupyter.engine.restarts import MOST
from tests.support.broken_library import BrokenLibrary
from tests.support.engines import (
    LONG,
    SMOLLM2,
    RunningEngine,
    engine,
    in_this_process,
    wait_for,
)
from tests.support.kernels import notebook
from tests.support.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no signals")

#: From the first request until the model is given up, in seconds.
GIVEN_UP = 30.0

#: What "at once" may take on a busy machine.
AT_ONCE = 1.0

# One answer at a time, so that each death is one answer's.
OPTIONS: dict[str, Any] = {
    "context_size": 64,
    "cpu_threads": 1,
    "device": "cpu",
    "max_concurrent": 1,
}


@pytest.fixture
def broken(tmp_path: Path) -> BrokenLibrary:
    return BrokenLibrary(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf")


@pytest.fixture
def running(broken: BrokenLibrary) -> Iterator[RunningEngine]:
    with engine(**broken.variables) as made:
        yield made


def ask(running: RunningEngine, model: Path) -> httpx.Response:
    return running.complete(
        model=str(model), prompt="the sea", max_tokens=2, llmspell={"options": OPTIONS}
    )


def load(running: RunningEngine, model: Path | str, **options: Any) -> dict[str, Any]:
    """What a load that is asked for ends with."""
    body = {"model": str(model), "llmspell": {"options": options}}
    with running.stream("/api/load", body) as stream:
        *_, last = (each for each in stream if each != "[DONE]")
        ended: dict[str, Any] = last
        return ended


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]["llmspell"]
    return error


def is_refused_at_once(running: RunningEngine, model: Path) -> dict[str, Any]:
    started = time.monotonic()
    response = ask(running, model)
    assert time.monotonic() - started < AT_ONCE
    assert response.status_code == 503
    error = error_of(response)
    assert error["type"] == "CrashLoop" and error["data"]["deaths"] == MOST
    return error


def test_ten_ask_together_and_five_processes_die(
    running: RunningEngine, broken: BrokenLibrary, model: Path
) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(10) as threads:
        errors = [error_of(each) for each in threads.map(lambda _: ask(running, model), range(10))]
    assert time.monotonic() - started < GIVEN_UP
    assert sorted(each["type"] for each in errors) == ["CrashLoop"] * 5 + ["WorkerDied"] * 5
    assert broken.deaths == MOST

    error = is_refused_at_once(running, model)
    assert f"{model} is not started again" in error["message"]
    assert "was ended by SIGSEGV before its first token" in error["message"]
    assert 'CMAKE_ARGS="-DGGML_NATIVE=OFF' in error["hint"]
    assert error["hint"].endswith(f"type: %model_load {model}")
    assert error["data"]["last"]["type"] == "WorkerDied"
    assert broken.deaths == MOST
    # Nobody else is concerned.
    assert running.chat("hello").status_code == 200

    broken.mend()
    is_refused_at_once(running, model)
    assert "error" not in load(running, model, **OPTIONS)
    assert ask(running, model).status_code == 200


def test_a_new_file_is_tried_and_so_is_one_that_is_asked_for(
    running: RunningEngine, broken: BrokenLibrary, model: Path
) -> None:
    for _ in range(MOST):
        assert error_of(ask(running, model))["type"] == "WorkerDied"
    is_refused_at_once(running, model)

    # A changed file is another model, and the one from before is remembered.
    changed = model.stat().st_mtime
    os.utime(model, (1, 1))
    assert error_of(ask(running, model))["type"] == "WorkerDied"
    os.utime(model, (changed, changed))
    is_refused_at_once(running, model)

    # Whatever the options of those that died.
    assert load(running, model)["error"]["type"] == "WorkerDied"
    assert error_of(ask(running, model))["type"] == "WorkerDied"
    assert broken.deaths == MOST + 3


def dies_while_it_reads(running: RunningEngine) -> None:
    with running.stream("/v1/completions", LONG | {"llmspell": {"progress": True}}) as stream:
        running.wait_for_job("reading the prompt")
        wait_for(lambda: running.worker(SMOLLM2)).send_signal(signal.SIGKILL)
        *_, last = stream
        assert last["error"]["type"] == "WorkerDied"


def test_a_process_that_loads_and_dies_before_its_first_word_counts() -> None:
    with engine() as running:
        for _ in range(MOST):
            # That it can tell tokens says nothing about whether it can compute.
            text = {"model": SMOLLM2, "prompt": "a"}
            assert running.http.post("/v1/tokenize", json=text).status_code == 200
            dies_while_it_reads(running)
        assert running.complete(**LONG).json()["error"]["type"] == "CrashLoop"
        # Asking for a load begins a new count.
        assert "error" not in load(running, SMOLLM2)
        assert running.complete(**LONG | {"prompt": "The sea"}).status_code == 200


def test_a_cell_says_why_and_how_to_go_on(running: RunningEngine, broken: BrokenLibrary) -> None:
    cell = "%%lua\nprint(Agent.builder():model('smollm2'):max_tokens(2):build():complete('Hi'))"
    with in_this_process(running.environment), notebook() as book:
        for _ in range(MOST):
            assert book.run(cell).error == "WorkerDied"
        given_up = book.run(cell)
        assert given_up.error == "CrashLoop" and given_up.seconds < AT_ONCE
        assert "died 5 times" in given_up.traceback
        assert f"%model_load {SMOLLM2}" in given_up.traceback
        assert "Traceback" not in given_up.traceback
        broken.mend()
        assert book.run(cell).error == "CrashLoop"
        book.good(f"%model_load {SMOLLM2}")
        assert book.good(cell).stdout.strip()
