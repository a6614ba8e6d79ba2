"""Real engines in private folders: started as processes, reached over their real socket."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.engine.connection import Connection

#: Far above what anything here takes; a wait this long has failed.
PATIENCE = 30.0

ECHO = "echo"
SMOLLM2 = "smollm2:135m"

#: Answered for a minute: greedy and without a penalty, it goes on like that.
ENDLESS = {
    "model": SMOLLM2,
    "prompt": "a b a b a b a b",
    "max_tokens": 4000,
    "temperature": 0,
    "repeat_penalty": 1,
}

#: Of a request's own fields: one answer at a time, so that a second request waits.
SINGLY = {"options": {"max_concurrent": 1}}

#: Takes many seconds to read.
LONG = {"model": SMOLLM2, "prompt": "The sea is deep and blue. " * 500, "max_tokens": 5}

_T = TypeVar("_T")


def wait_for(look: Callable[[], _T], seconds: float = PATIENCE) -> _T:
    """Look again and again until there is something; it must come within so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {look}"
        time.sleep(0.005)
    return found


def runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def gone_within(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all of them end in time; somebody else may have to reap them."""
    with contextlib.suppress(AssertionError):
        return wait_for(lambda: not any(map(runs, processes)), seconds)
    return False


@contextmanager
def runtime_folder(**variables: str) -> Iterator[dict[str, str]]:
    """The environment for a private engine; whatever runs there afterwards is ended."""
    # Not pytest's tmp_path, whose length would move the socket elsewhere.
    room = tempfile.mkdtemp(prefix="lj-")
    environment = {
        **os.environ,
        "JUPYTER_RUNTIME_DIR": str(Path(room, "runtime")),
        "JUPYTER_DATA_DIR": str(Path(room, "data")),
        **variables,
    }
    try:
        yield environment
    finally:
        _end_engine(environment)
        shutil.rmtree(room)


def _end_engine(environment: dict[str, str]) -> None:
    found = connections.read(connection_file(environment))
    process = found.process() if found else None
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()
        process.terminate()
    if not gone_within(family, 10):
        process.kill()
        raise AssertionError(f"an engine or worker did not end: {family}")


@contextmanager
def in_this_process(environment: dict[str, str]) -> Iterator[None]:
    """Let clients of this process use that environment."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def connection_file(environment: dict[str, str]) -> Path:
    return Path(environment["JUPYTER_RUNTIME_DIR"], "llmspell-engine.json")


def python(environment: dict[str, str], *arguments: str, **rest: Any) -> subprocess.Popen[str]:
    """A Python process in that environment; its output is piped."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **rest,
    )


def jupyter_llmspell(
    environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "llmspell_jupyter.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass
class RunningEngine:
    """An engine and a connection to it.

    Attributes:
        environment: What it was started with.
        connection: What its connection file says.
        process: Its process.
        http: Carries the token.
    """

    environment: dict[str, str]
    connection: Connection
    process: psutil.Process
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = self.client(Authorization=f"Bearer {self.connection.token}")

    def client(self, **headers: str) -> httpx.Client:
        """A client that sends these headers and no token of its own."""
        local = self.connection.transport == "unix"
        return httpx.Client(
            base_url=self.connection.url,
            transport=httpx.HTTPTransport(uds=self.connection.address) if local else None,
            headers=headers,
            timeout=60,
            trust_env=False,
        )

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.http.get("/api/status").json()
        return status

    def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self.status()["jobs"]
        return jobs

    def worker(self, model: str) -> psutil.Process | None:
        """The worker of a model, if it has a process."""
        pids = [each["pid"] for each in self.status()["workers"] if each["model"] == model]
        return psutil.Process(pids[-1]) if pids and pids[-1] else None

    def wait_for_job(self, phase: str) -> dict[str, Any]:
        """Wait until some job is in this phase."""
        return wait_for(lambda: next((job for job in self.jobs() if job["phase"] == phase), None))

    def chat(self, text: str, model: str = ECHO, **rest: Any) -> httpx.Response:
        messages = [{"role": "user", "content": text}]
        return self.http.post(
            "/v1/chat/completions", json={"model": model, "messages": messages, **rest}
        )

    def complete(self, **body: Any) -> httpx.Response:
        return self.http.post("/v1/completions", json=body)

    @contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Iterator[Any]]:
        """The values of a stream, ``"[DONE]"`` included; leaving the block closes it."""
        with self.http.stream("POST", path, json=body | {"stream": True}) as response:
            assert response.status_code == 200, response.read()
            yield _values(response)

    @contextmanager
    def answering(self, **rest: Any) -> Iterator[Iterator[Any]]:
        """An endless stream whose first word has come."""
        with self.stream("/v1/completions", ENDLESS | rest) as values:
            first = next(values)
            assert first["choices"][0]["text"], first
            yield values

    def family(self) -> list[psutil.Process]:
        """Its process and all below it."""
        return [self.process, *self.process.children(recursive=True)]


def _values(response: httpx.Response) -> Iterator[Any]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield "[DONE]" if line[6:] == "[DONE]" else json.loads(line[6:])
        else:
            assert not line or line.startswith(":"), line


def attach(environment: dict[str, str]) -> RunningEngine | None:
    """The engine of that environment, if it listens."""
    found = connections.read(connection_file(environment))
    process = found.process() if found else None
    return RunningEngine(environment, found, process) if found and process else None


@contextmanager
def engine(*, owner: int | None = None, **variables: str) -> Iterator[RunningEngine]:
    """An engine as a notebook starts it.

    Args:
        owner: The process to end with; default is this one.
        variables: Environment variables of it.
    """
    with runtime_folder(**variables) as environment, started(environment, owner=owner) as running:
        yield running


@contextmanager
def started(environment: dict[str, str], *, owner: int | None = None) -> Iterator[RunningEngine]:
    """An engine in a folder that is there already."""
    # Its output goes elsewhere than a notebook's engine logs: the engine itself makes that folder.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "llmspell_jupyter.engine"),
                *("--owner", str(owner or os.getpid())),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        running = wait_for(lambda: attach(environment) or process.poll() is not None)
        if not isinstance(running, RunningEngine):
            output.seek(0)
            raise AssertionError(output.read().decode())
        try:
            yield running
        finally:
            running.http.close()
            try:
                _end_engine(environment)
            finally:
                process.kill()
                process.wait(PATIENCE)
