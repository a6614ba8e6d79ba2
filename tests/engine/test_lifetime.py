"""When an engine ends, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from llmspell_jupyter.engine.client import EngineClient
from tests.support.engines import (
    ENDLESS,
    PATIENCE,
    RunningEngine,
    attach,
    connection_file,
    engine,
    gone_within,
    in_this_process,
    jupyter_llmspell,
    python,
    runs,
    runtime_folder,
    wait_for,
)

#: A few seconds: the engine looks once a second, and ends its workers.
FEW = 8.0

#: Long enough for the engine to have looked twice.
TWO_LOOKS = 2.1


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that can own an engine."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def with_worker(running: RunningEngine) -> list[psutil.Process]:
    """The engine and a worker."""
    assert running.chat("hello").status_code == 200
    family = running.family()
    assert len(family) == 2
    return family


def test_it_ends_when_it_is_idle_and_takes_its_workers_along() -> None:
    with engine(LLMSPELL_ENGINE_IDLE_SECONDS="1.5") as running:
        started = time.monotonic()
        family = with_worker(running)
        assert gone_within(family, FEW)
        assert time.monotonic() - started > 1.5
        assert not connection_file(running.environment).exists()


def test_looking_keeps_no_engine_alive() -> None:
    with (
        engine(LLMSPELL_ENGINE_IDLE_SECONDS="1.5") as running,
        in_this_process(running.environment),
    ):
        client = EngineClient()
        assert client.status()
        wait_for(lambda: not client.status())
        assert gone_within([running.process], PATIENCE)
        client.close()


def test_a_request_under_way_is_not_idleness() -> None:
    with engine(LLMSPELL_ENGINE_IDLE_SECONDS="0.5") as running, running.answering() as stream:
        deadline = time.monotonic() + TWO_LOOKS
        while time.monotonic() < deadline:
            assert next(stream) != "[DONE]"
        assert runs(running.process)


def test_zero_is_never_idle() -> None:
    with engine(LLMSPELL_ENGINE_IDLE_SECONDS="0") as running:
        with_worker(running)
        assert not gone_within([running.process], TWO_LOOKS)


def test_it_ends_with_its_owner() -> None:
    with sleeper() as owner, engine(owner=owner.pid) as running:
        # As a client of that owner would.
        running.http.headers["X-LLMSpell-Owner"] = str(owner.pid)
        family = with_worker(running)
        assert not gone_within(family, TWO_LOOKS)
        owner.kill()
        assert gone_within(family, FEW)
        assert not connection_file(running.environment).exists()


def test_it_ends_with_its_owner_also_while_it_answers() -> None:
    with sleeper() as owner, engine(owner=owner.pid) as running, running.answering():
        family = running.family()
        owner.kill()
        assert gone_within(family, FEW)


def test_an_owner_that_is_a_zombie_is_gone() -> None:
    code = "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', '']); print(c.pid, flush=True); input()"
    with python(dict(os.environ), "-c", code, stdin=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        wait_for(lambda: child.status() == psutil.STATUS_ZOMBIE)
        with sleeper() as owner, engine(owner=owner.pid) as running:
            running.http.headers["X-LLMSpell-Owner"] = str(child.pid)
            family = with_worker(running)
            owner.kill()
            assert gone_within(family, FEW)
        parent.communicate("\n", timeout=PATIENCE)


def test_every_client_brings_its_owner() -> None:
    with sleeper() as first, sleeper() as second, engine(owner=first.pid) as running:
        running.http.headers["X-LLMSpell-Owner"] = str(second.pid)
        family = with_worker(running)
        first.kill()
        assert not gone_within(family, TWO_LOOKS)
        second.kill()
        assert gone_within(family, FEW)


def test_an_owner_that_makes_no_sense_is_none() -> None:
    with sleeper() as owner, engine(owner=owner.pid) as running:
        family = with_worker(running)
        for header in (b"", b"-1", b"0x1", b"9" * 100, "\u0663".encode(), b"4194305000", b"\xff"):
            token = f"Bearer {running.connection.token}".encode()
            headers = [(b"Authorization", token), (b"X-LLMSpell-Owner", header)]
            assert running.http.get("/api/status", headers=headers).status_code == 200
        owner.kill()
        assert gone_within(family, FEW)


# Started by hand


@contextmanager
def by_hand(*arguments: str) -> Iterator[RunningEngine]:
    with runtime_folder() as environment:
        command = ("-m", "llmspell_jupyter.cli", "engine", "serve", *arguments)
        with python(environment, *command) as process:
            try:
                running = wait_for(lambda: attach(environment))
                yield running
                running.http.close()
            finally:
                process.terminate()
                try:
                    process.communicate(timeout=PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate(timeout=PATIENCE)


def test_one_that_was_started_by_hand_has_no_owner() -> None:
    with by_hand() as running, sleeper() as owner:
        running.http.headers["X-LLMSpell-Owner"] = str(owner.pid)
        family = with_worker(running)
        owner.kill()
        assert not gone_within(family, TWO_LOOKS)
        assert running.chat("hello").status_code == 200


def test_one_that_was_started_by_hand_ends_on_ctrl_c() -> None:
    with by_hand() as running:
        family = with_worker(running)
        running.process.send_signal(signal.SIGINT)
        assert gone_within(family, FEW)
        assert not connection_file(running.environment).exists()


def test_options_of_serve() -> None:
    with by_hand("--tcp", "--idle-timeout", "1") as running:
        assert running.connection.transport == "tcp"
        family = with_worker(running)
        assert gone_within(family, FEW)


def test_serve_says_what_is_wrong() -> None:
    with runtime_folder(LLMSPELL_ENGINE_TRANSPORT="pigeon") as environment:
        done = jupyter_llmspell(environment, "engine", "serve")
        assert done.returncode == 1 and done.stderr.startswith(
            "ConfigError: LLMSPELL_ENGINE_TRANSPORT: "
        )
        assert "Traceback" not in done.stderr
        done = jupyter_llmspell(environment, "engine", "serve", "--idle-timeout", "-1")
        assert done.returncode == 2


# jupyter llmspell engine status | stop | logs


def test_without_an_engine() -> None:
    with runtime_folder() as environment:
        status = jupyter_llmspell(environment, "engine", "status")
        assert status.returncode == 1 and "not running" in status.stdout
        stop = jupyter_llmspell(environment, "engine", "stop")
        assert stop.returncode == 0 and "not running" in stop.stdout
        logs = jupyter_llmspell(environment, "engine", "logs")
        assert logs.returncode == 0 and "nothing" in logs.stdout
        assert attach(environment) is None


def test_status_shows_engine_workers_and_jobs() -> None:
    with engine() as running, running.answering():
        done = jupyter_llmspell(running.environment, "engine", "status")
        assert done.returncode == 0, done.stderr
        assert f"process {running.process.pid}" in done.stdout
        worker = running.worker(str(ENDLESS["model"]))
        assert worker is not None
        assert f"smollm2:135m: ready on cpu, process {worker.pid}" in done.stdout
        assert "answering" in done.stdout


def test_stop_ends_engine_and_workers() -> None:
    with engine() as running:
        family = with_worker(running)
        done = jupyter_llmspell(running.environment, "engine", "stop")
        assert done.returncode == 0, done.stderr
        assert f"process {running.process.pid}" in done.stdout
        assert gone_within(family, 2)
        assert not connection_file(running.environment).exists()
        assert jupyter_llmspell(running.environment, "engine", "status").returncode == 1


def test_stop_ends_an_engine_that_hangs() -> None:
    with engine() as running:
        family = with_worker(running)
        running.process.suspend()
        done = jupyter_llmspell(running.environment, "engine", "stop")
        assert done.returncode == 0, done.stderr
        assert f"process {running.process.pid}" in done.stdout
        assert gone_within(family, 5)
        assert not connection_file(running.environment).exists()


def test_logs_show_the_last_lines() -> None:
    with runtime_folder(JPY_PARENT_PID=str(os.getpid())) as environment:
        code = "from llmspell_jupyter.engine.client import EngineClient; EngineClient().models()"
        with python(environment, "-c", code) as client:
            assert client.communicate(timeout=PATIENCE) and client.returncode == 0
        done = jupyter_llmspell(environment, "engine", "logs", "-n", "1")
        assert done.returncode == 0 and done.stdout.count("\n") == 1
        done = jupyter_llmspell(environment, "engine", "logs")
        assert "listens at" in done.stdout
        assert jupyter_llmspell(environment, "engine", "logs", "-n", "0").returncode == 2
