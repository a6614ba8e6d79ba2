"""The end of a worker is seen by its process, and a start that fails is told, however it fails."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.errors import EngineError, WorkerDied
from llmspell_jupyter.models import store
from llmspell_jupyter.types import LoadOptions
from tests.support.engines import (
    ENDLESS,
    PATIENCE,
    SMOLLM2,
    RunningEngine,
    engine,
    runs,
    wait_for,
)

#: How soon a death must be told, in seconds.
SOON = 2.0

USUAL = LoadOptions()
NOTHING = nullcontext()


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEngine]:
    with engine() as made:
        yield made


@contextmanager
def held(worker: psutil.Process, which: str) -> Iterator[None]:
    """Pipes of a worker stay open for writing, as by a process that it has started."""
    with ExitStack() as stack:
        for file in Path(f"/proc/{worker.pid}/fd").iterdir():
            flags = Path(f"/proc/{worker.pid}/fdinfo/{file.name}").read_text().split("flags:")[1]
            writes = int(flags.split()[0], 8) & os.O_WRONLY
            kind = "log" if int(file.name) < 3 else "answers"
            if writes and str(file.readlink()).startswith("pipe:") and kind in which:
                stack.enter_context(file.open("wb", buffering=0))
        yield


def pipes(process: psutil.Process) -> int:
    """How many it has open."""
    links = [str(file.readlink()) for file in Path(f"/proc/{process.pid}/fd").iterdir()]
    return sum(link.startswith("pipe:") for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="holds pipes through /proc")
@pytest.mark.parametrize("which", ["log", "answers", "log and answers"])
def test_a_dead_worker_whose_pipes_are_held_open(running: RunningEngine, which: str) -> None:
    before = pipes(running.process)
    with running.answering() as stream:
        worker = wait_for(lambda: running.worker(SMOLLM2))
        with held(worker, which):
            worker.kill()
            began = time.monotonic()
            *_, last = stream
            assert time.monotonic() - began < SOON
            assert last["error"]["llmspell"]["type"] == "WorkerDied"
            assert last["error"]["llmspell"]["data"]["signal"] == "SIGKILL"
            # Nothing waits for its end, neither a load nor an unload.
            assert running.complete(**ENDLESS | {"max_tokens": 2}).status_code == 200
            again = wait_for(lambda: running.worker(SMOLLM2))
            assert again != worker
            told = running.http.post("/api/unload", json={"model": SMOLLM2})
            assert told.json() == {"unloaded": 1}
            assert pipes(running.process) == before


def failure(
    options: LoadOptions = USUAL, during: AbstractContextManager[object] = NOTHING
) -> EngineError:
    """What a start ends with; no process is left."""
    before = set(psutil.Process().children())

    async def run() -> EngineError:
        worker = WorkerProcess(store.ECHO, "echo", options)
        with during, pytest.raises(EngineError) as caught:
            worker.start()
            async for _ in worker.loading():
                pass
        await worker.stop()
        assert worker.state == "dead"
        while any(map(runs, set(psutil.Process().children()) - before)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return caught.value

    return asyncio.run(asyncio.wait_for(run(), PATIENCE))


@contextmanager
def no_more_threads() -> Iterator[None]:
    """The stack of each would need more than there is."""
    before = threading.stack_size(2**46)
    try:
        yield
    finally:
        threading.stack_size(before)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a thread for each process is of 3.11")
def test_a_process_whose_end_nothing_could_tell() -> None:
    error = failure(during=no_more_threads())
    assert "could be started" in error.message and "new thread" in error.message


def test_what_cannot_be_told_to_a_worker() -> None:
    options: Any = LoadOptions(device=object())  # type: ignore[arg-type]
    error = failure(options)
    assert "could be started" in error.message


@pytest.mark.skipif(os.name != "posix", reason="starts a shell script")
@pytest.mark.parametrize(
    "script",
    [
        "sleep 15 & echo alas >&2; exit 3",
        "sleep 15 >&2 & echo alas >&2; exit 3",
        "echo alas >&2; exec sleep 15 >/dev/null 2>&1",
    ],
    ids=["holds its answers and log", "holds its log", "hangs up"],
)
def test_a_program_that_ends_in_its_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    began = time.monotonic()
    error = failure()
    assert time.monotonic() - began < 2 * SOON
    assert isinstance(error, WorkerDied) and "alas" in error.message
