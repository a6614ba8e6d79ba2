"""Clients that die without a word (E4)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest

from llmspell_jupyter.types import Phase
from tests.support.engines import ECHO, ENDLESS, LONG, RunningEngine, engine, python, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")

#: From the death of a client to the end of what it asked for.
SECONDS = 2.0

# Nothing but the standard library: it is there at once, and dies without any cleanup.
CLIENT = """
import http.client, json, socket, sys
address, token, body = sys.argv[1:]
connection = http.client.HTTPConnection("engine")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(address)
connection.request("POST", "/v1/completions", body, {"Authorization": "Bearer " + token})
answer = connection.getresponse()
for line in answer:
    print(line.decode().strip(), flush=True)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEngine]:
    with engine(LLMSPELL_ENGINE_TRANSPORT="unix") as started:
        assert started.complete(**ENDLESS | {"max_tokens": 1}).status_code == 200
        yield started


@contextmanager
def asking(running: RunningEngine, body: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A process that asks for a stream and reads it."""
    process = python(
        running.environment,
        *("-c", CLIENT, running.connection.address, running.connection.token),
        json.dumps(body | {"stream": True}),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def killed(running: RunningEngine, *clients: subprocess.Popen[str]) -> float:
    """Seconds from the death of these clients until the engine has no job."""
    for client in clients:
        client.send_signal(signal.SIGKILL)
    started = time.monotonic()
    wait_for(lambda: not running.jobs(), SECONDS)
    return time.monotonic() - started


def nothing_is_left(running: RunningEngine) -> None:
    assert running.jobs() == []
    assert [worker["waiting"] for worker in running.status()["workers"]] == [0]
    assert running.complete(**ENDLESS | {"max_tokens": 2}).json()["usage"]["completion_tokens"] == 2


def test_twenty_that_die_while_they_stream(running: RunningEngine) -> None:
    threads, files = _held(running.process)
    worker = running.status()["workers"][0]["pid"]
    for _ in range(20):
        with asking(running, ENDLESS) as client:
            assert client.stdout is not None and client.stdout.readline().startswith("data: ")
            assert killed(running, client) < SECONDS
    nothing_is_left(running)
    assert running.status()["workers"][0]["pid"] == worker
    after = _held(running.process)
    assert after[0] <= threads + 2 and after[1] <= files + 2, (threads, files, after)


@pytest.mark.parametrize("phase", ["reading", "queued"])
def test_some_that_die_before_their_first_token(running: RunningEngine, phase: str) -> None:
    for _ in range(3):
        with ExitStack() as stack:
            clients = [stack.enter_context(asking(running, LONG))]
            running.wait_for_job(Phase.READING)
            if phase == "queued":
                seats = running.status()["workers"][0]["queue"]["seats"]
                clients += [stack.enter_context(asking(running, LONG)) for _ in range(seats + 3)]
                wait_for(lambda: _phases(running).count(Phase.QUEUED) == 4)
            assert killed(running, *clients) < SECONDS
    nothing_is_left(running)


def test_others_are_not_affected(running: RunningEngine) -> None:
    want = running.complete(**ENDLESS | {"max_tokens": 16}).json()["choices"][0]["text"]
    with running.stream("/v1/completions", ENDLESS | {"max_tokens": 16}) as values:
        text = next(values)["choices"][0]["text"]
        with asking(running, ENDLESS) as other, asking(running, ENDLESS | {"model": ECHO}):
            wait_for(lambda: len(running.jobs()) >= 2)
            other.send_signal(signal.SIGKILL)
            for value in values:
                if value != "[DONE]" and value["choices"]:
                    text += value["choices"][0]["text"]
    assert text == want
    wait_for(lambda: not running.jobs(), SECONDS)


def _phases(running: RunningEngine) -> list[str]:
    return [job["phase"] for job in running.jobs()]


def _held(process: psutil.Process) -> tuple[int, int]:
    """Threads and open files of a process."""
    return process.num_threads(), process.num_fds()
