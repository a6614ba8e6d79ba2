"""The engine's log is that of the engine that runs, and what none could start for is in it, too."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import filelock
import psutil
import pytest

from llmspell_jupyter.config import paths
from llmspell_jupyter.engine import control, start
from llmspell_jupyter.errors import EngineUnavailable
from tests.support.engines import PATIENCE, in_this_process, python, runtime_folder


async def _begin(known: set[psutil.Process]) -> tuple[asyncio.Task[object], psutil.Process]:
    """Start an engine; what waits for it, and its process."""
    task: asyncio.Task[object] = asyncio.create_task(start.find_or_start())
    async with asyncio.timeout(PATIENCE):
        # Other processes set no events when they begin.
        while not (new := set(psutil.Process().children()) - known):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return task, new.pop()


def test_a_start_that_is_given_up_and_tried_again_leaves_the_log_with_who_runs() -> None:
    async def run() -> None:
        known = set(psutil.Process().children())
        # Neither gets to the point before both have been started.
        with filelock.FileLock(paths.engine_lock(), mode=paths.PRIVATE):
            task, first = await _begin(known)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            task, second = await _begin(known | {first})
            second.suspend()
        try:
            async with asyncio.timeout(PATIENCE):
                await task
            found = control.running()
            assert found is not None and found.pid == first.pid
            assert "listens at" in control.log_tail()
        finally:
            second.kill()

    with (
        runtime_folder(JPY_PARENT_PID=str(os.getpid())) as environment,
        in_this_process(environment),
    ):
        asyncio.run(run())


def test_why_none_could_be_started_is_in_the_log() -> None:
    with (
        runtime_folder(LLMSPELL_ENGINE_IDLE_SECONDS="soon") as environment,
        in_this_process(environment),
    ):
        for _ in range(2):
            with pytest.raises(EngineUnavailable, match="ConfigError"):
                asyncio.run(start.find_or_start())
        assert control.log_tail().count("ConfigError: LLMSPELL_ENGINE_IDLE_SECONDS") == 2


BEGINS = """
import os, sys
from llmspell_jupyter.engine import log
print("before", flush=True)
os.write(2, b"of a library\\n")
print("not written yet", end=" ")
log.begin()
print("after", flush=True)
sys.exit("the end")
"""


def test_what_was_printed_before_moves_to_the_log_and_the_log_before_is_kept() -> None:
    with runtime_folder() as environment, in_this_process(environment):
        paths.engine_log().write_text("of the run before")
        with paths.runtime_folder().joinpath("output").open("w+b") as output:
            done = subprocess.run(
                [sys.executable, "-c", BEGINS], stdout=output, stderr=output, check=False
            )
            assert done.returncode == 1
            output.seek(0)
            assert output.read() == b""
        assert paths.engine_log().read_text().split("\n") == [
            "before",
            "of a library",
            "not written yet after",
            "the end",
            "",
        ]
        assert paths.engine_log().stat().st_mode & 0o777 == paths.PRIVATE
        assert paths.engine_log().with_suffix(".log.1").read_text() == "of the run before"


IMPATIENT = """
import sys
from llmspell_jupyter.engine import __main__ as engine
engine._PATIENCE_SECONDS = 0.1
sys.argv = ["engine", "--owner", str(__import__("os").getppid())]
engine.main()
"""


def test_an_engine_that_another_holds_up_says_so() -> None:
    with runtime_folder() as environment, in_this_process(environment):
        with (
            filelock.FileLock(paths.engine_lock(), mode=paths.PRIVATE) as lock,
            python(environment, "-c", IMPATIENT) as second,
        ):
            _, errors = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        assert "Another engine of yours has not ended yet" in errors
        assert lock.lock_file in errors and "again" in errors and "Traceback" not in errors
