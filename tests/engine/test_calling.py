"""Waiting for the engine on any thread."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import Future
from contextlib import suppress

import pytest

from llmspell_jupyter.engine import calling
from tests.support.engines import PATIENCE, engine, python

FORKS = """
import multiprocessing, os, sys
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.types import GenerationRequest

client = EngineClient()

def ask(prompt):
    *_, last = client.generate(GenerationRequest("echo", prompt=prompt))
    return last.text, client.status() is not None

print(ask("one"))
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(ask, ["two", "three"]))
sys.stdout.flush()
# A child that ends as a program does, with all that is then tidied up.
child = os.fork()
if not child:
    print(ask("four"))
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ask("five"))
"""


class Narrow(Future[int]):
    """Done just after a turn of waiting for it has run out."""

    def result(self, timeout: float | None = None) -> int:
        try:
            return super().result(timeout)
        except TimeoutError:
            self.set_result(7)
            raise


def test_an_answer_that_comes_between_two_turns_is_the_answer() -> None:
    future = Narrow()
    late = threading.Timer(2 * calling.TURN_SECONDS, future.set_result, [7])
    late.start()
    try:
        assert calling._result(future) == 7
    finally:
        late.cancel()


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no forks")
def test_a_forked_child_asks_on_a_thread_of_its_own() -> None:
    command = ("-W", "ignore", "-c", FORKS)
    with (
        engine() as running,
        python(running.environment, *command, start_new_session=True) as program,
    ):
        try:
            output, errors = program.communicate(timeout=PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
    assert output.splitlines() == [
        "('one', True)",
        "[('two', True), ('three', True)]",
        "('four', True)",
        "5 ('five', True)",
    ], errors
