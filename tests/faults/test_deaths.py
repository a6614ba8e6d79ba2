"""Killed workers and engines: each of ten clients is told, and each goes on (E2).

Two of the clients are kernels. Eight are processes that use the engine as a kernel does; ten
kernels would take half a minute on two cores before anything is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.engines import (
    ENDLESS,
    PATIENCE,
    SMOLLM2,
    attach,
    gone_within,
    in_this_process,
    python,
    runs,
    runtime_folder,
    wait_for,
)
from tests.support.kernels import CELL_SECONDS, Notebook, Output, notebook

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")

ROUNDS = 20

#: From a death until everybody is told, in seconds.
TOLD = 2.0

#: From a question after a death until its first word; the engine lives.
NEXT = 5.0

#: The same when an engine has to be started.
NEXT_ENGINE = 10.0

# All that write have a seat, and their texts fit into one context. Threads that wait for each other
# would make the pace a matter of what else the machine does.
TOGETHER = {
    "LLMSPELL_PROVIDER_CANDLE_MAX_CONCURRENT": "10",
    "LLMSPELL_PROVIDER_CANDLE_CPU_THREADS": "1",
}

PROCESS = """
import json, sys
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import Chunk, GenerationRequest, LoadOptions, Sampling
def say(**facts):
    print(json.dumps(facts), flush=True)
client = EngineClient()
request = GenerationRequest(
    sys.argv[1],
    prompt=sys.argv[2],
    max_tokens=300,
    sampling=Sampling(temperature=0, repeat_penalty=1),
    options=LoadOptions(max_concurrent=10, cpu_threads=1),
)
for line in sys.stdin:
    told = False
    try:
        for part in client.generate(request):
            if isinstance(part, Chunk) and part.text and not told:
                told = True
                say(word=part.text)
        say(error="none", hint="", data={})
    except LLMSpellError as error:
        say(error=type(error).__name__, hint=error.hint, data=error.data)
"""

CELL = """%%lua
local agent = Agent.builder():model("smollm2"):temperature(0):max_tokens(300):system_prompt("Tell."):build()
agent:invokeStream("A long story of the sea.", function(c) io.write(c.text) end)"""


class Client(ABC):
    """Somebody who has a long text written, again and again."""

    @abstractmethod
    def ask(self) -> None:
        """Ask for the text; returns at once."""

    @abstractmethod
    def first_word(self) -> None:
        """Wait for it."""

    @abstractmethod
    def error(self) -> tuple[str, str]:
        """Wait for the end of the text: the name of the error and what is shown of it."""


class Process(Client):
    def __init__(self, environment: dict[str, str], stack: ExitStack):
        self._process = stack.enter_context(
            python(environment, "-c", PROCESS, SMOLLM2, str(ENDLESS["prompt"]), stdin=-1, bufsize=1)
        )
        stack.callback(self._process.kill)

    def ask(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")

    def first_word(self) -> None:
        assert "word" in (told := self._read()), told

    def error(self) -> tuple[str, str]:
        told = self._read()
        if told["error"] == "WorkerDied":
            crashed = told["data"]["signal"] == "SIGSEGV"
            assert crashed == any("Segmentation fault" in line for line in told["data"]["log"])
        return told["error"], told["hint"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told


class Kernel(Client):
    def __init__(self, book: Notebook):
        self._book = book
        self._output = Output()
        self._ended = False
        self._cell = ""
        book.good("import os\nkept = os.getpid()")
        self._pid = book.value("kept")

    def ask(self) -> None:
        self._output = Output()
        self._ended = False
        self._cell = self._book.client.execute(CELL)

    def first_word(self) -> None:
        while not self._output.stdout:
            self._read()

    def error(self) -> tuple[str, str]:
        while not self._ended:
            self._read()
        assert self._output.error is not None, self._output
        return self._output.error, self._output.traceback

    def is_well(self) -> bool:
        """Whether it is the same process and has kept its variables."""
        return self._book.value("kept") == self._pid == self._book.value("os.getpid()")

    def _read(self) -> None:
        assert not self._ended, self._output
        message = self._book.client.get_iopub_msg(timeout=CELL_SECONDS)
        if message["parent_header"].get("msg_id") != self._cell:
            return
        self._output.add(message)
        state = message["content"].get("execution_state")
        self._ended = message["msg_type"] == "status" and state == "idle"


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with (
        runtime_folder(JPY_PARENT_PID=str(os.getpid()), **TOGETHER) as variables,
        in_this_process(variables),
    ):
        yield variables


@pytest.fixture(scope="module")
def clients(environment: dict[str, str]) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        made: list[Client] = [Process(environment, stack) for _ in range(8)]
        made += [Kernel(stack.enter_context(notebook())) for _ in range(2)]
        yield made


def all_write(clients: list[Client], seconds: float) -> None:
    """Everybody asks, and has a first word in time."""
    started = time.monotonic()
    for client in clients:
        client.ask()
    for client in clients:
        client.first_word()
    assert time.monotonic() - started < seconds


def all_are_told(clients: list[Client], error: str) -> None:
    """Everybody's text ends in time with this error and what to do next."""
    started = time.monotonic()
    ends = [client.error() for client in clients]
    assert time.monotonic() - started < TOLD
    assert {name for name, _ in ends} == {error}
    assert all("Run the cell again" in shown for _, shown in ends)


def kernels_are_well(clients: list[Client]) -> bool:
    return all(client.is_well() for client in clients if isinstance(client, Kernel))


@pytest.mark.timeout(300)
def test_a_worker_is_killed_again_and_again(
    environment: dict[str, str], clients: list[Client]
) -> None:
    all_write(clients, PATIENCE)
    running = attach(environment)
    assert running is not None
    workers = set()
    for number in range(ROUNDS):
        # One process writes all ten texts.
        (status,) = running.status()["workers"]
        assert len(running.jobs()) == len(clients)
        workers.add(status["pid"])
        os.kill(status["pid"], signal.SIGSEGV if number % 5 == 4 else signal.SIGKILL)
        all_are_told(clients, "WorkerDied")
        all_write(clients, NEXT)
    assert len(workers) == ROUNDS and runs(running.process)
    assert running.http.post("/api/unload", json={"model": SMOLLM2, "force": True}).is_success
    assert [client.error()[0] for client in clients] == ["Interrupted"] * len(clients)
    assert kernels_are_well(clients)
    running.http.close()


def test_the_engine_is_killed_while_all_write(
    environment: dict[str, str], clients: list[Client]
) -> None:
    all_write(clients, PATIENCE)
    engines = set()
    for _ in range(2):
        running = attach(environment)
        assert running is not None
        running.http.close()
        engines.add(running.process.pid)
        family = running.family()
        assert len(family) == 2
        running.process.kill()
        all_are_told(clients, "EngineDied")
        assert gone_within(family, TOLD)
        all_write(clients, NEXT_ENGINE)
    last = wait_for(lambda: attach(environment))
    assert len(last.jobs()) == len(clients) and last.process.pid not in engines
    last.process.kill()
    all_are_told(clients, "EngineDied")
    assert kernels_are_well(clients)
    last.http.close()
