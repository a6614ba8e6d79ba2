"""Requests that end early, and requests that hinder each other."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.types import Completion, GenerationRequest, Phase, Progress
from tests.support.engines import (
    ECHO,
    ENDLESS,
    LONG,
    PATIENCE,
    SINGLY,
    SMOLLM2,
    RunningEngine,
    engine,
    python,
    wait_for,
)

#: How soon the engine must have noticed, in seconds.
SOON = 2.0


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEngine]:
    with engine() as made:
        # Loaded once, so that no test below measures loading.
        assert made.complete(**ENDLESS | {"max_tokens": 1}).status_code == 200
        yield made


def test_closing_a_stream_while_it_answers_ends_the_job(running: RunningEngine) -> None:
    worker = running.worker(SMOLLM2)
    with running.answering():
        assert [job["phase"] for job in running.jobs()] == ["answering"]
    wait_for(lambda: not running.jobs(), SOON)
    _answers_at_once(running)
    assert running.worker(SMOLLM2) == worker


def test_closing_a_stream_while_the_prompt_is_read_ends_the_job(running: RunningEngine) -> None:
    with running.stream("/v1/completions", LONG | {"llmspell": {"progress": True}}) as stream:
        assert next(stream)["llmspell"]["progress"]["phase"] == "reading the prompt"
        assert [job["phase"] for job in running.jobs()] == ["reading the prompt"]
    wait_for(lambda: not running.jobs(), SOON)
    _answers_at_once(running)


def test_a_client_that_does_not_wait_for_its_whole_answer(running: RunningEngine) -> None:
    for body in (ENDLESS, LONG):
        with running.client() as client:
            request = client.build_request(
                "POST",
                "/v1/completions",
                json=body,
                headers={"Authorization": f"Bearer {running.connection.token}"},
            )
            content = b"POST /v1/completions HTTP/1.1\r\n" + b"".join(
                name + b": " + value + b"\r\n" for name, value in request.headers.raw
            )
            content += b"\r\n" + request.read()
        with _socket(running) as raw:
            raw.sendall(content)
            wait_for(running.jobs)
        wait_for(lambda: not running.jobs(), SOON)
        _answers_at_once(running)


def _socket(running: RunningEngine) -> socket.socket:
    if running.connection.transport == "unix":
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(running.connection.address)
        return raw
    host, _, port = running.connection.address.rpartition(":")
    return socket.create_connection((host, int(port)))


CLIENT = """
import sys
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.types import Chunk, GenerationRequest, Sampling
request = GenerationRequest(
    sys.argv[1],
    prompt=sys.argv[2],
    max_tokens=4000,
    sampling=Sampling(temperature=0, repeat_penalty=1),
)
for part in EngineClient().generate(request):
    print(type(part).__name__, flush=True)
"""


@pytest.mark.parametrize("when", ["Chunk", "Progress"])
def test_a_client_that_is_killed(running: RunningEngine, when: str) -> None:
    prompt = (ENDLESS if when == "Chunk" else LONG)["prompt"]
    environment = running.environment | {"JPY_PARENT_PID": str(os.getpid())}
    with python(environment, "-c", CLIENT, SMOLLM2, str(prompt)) as client:
        assert client.stdout is not None
        wait_for(lambda: client.stdout and client.stdout.readline().strip() == when)
        assert [job["client"] for job in running.jobs()] == [f"process {client.pid}"]
        client.send_signal(signal.SIGKILL)
        wait_for(lambda: not running.jobs(), SOON)
        client.communicate(timeout=PATIENCE)
    _answers_at_once(running)


def test_one_that_waits_and_goes_makes_room(running: RunningEngine) -> None:
    waiting = ENDLESS | {"max_tokens": 1, "llmspell": {"progress": True} | SINGLY}
    with running.answering(llmspell=SINGLY):
        with running.stream("/v1/completions", waiting) as stream:
            assert next(stream)["llmspell"]["progress"]["phase"] == "queued"
            assert len(running.jobs()) == 2
        wait_for(lambda: len(running.jobs()) == 1, SOON)
    wait_for(lambda: not running.jobs(), SOON)


def test_the_engine_answers_while_a_model_works(running: RunningEngine) -> None:
    with running.stream("/v1/completions", LONG | {"llmspell": {"progress": True}}) as stream:
        next(stream)
        started = time.monotonic()
        for _ in range(10):
            assert running.http.get("/api/status").status_code == 200
        assert time.monotonic() - started < 10 * 0.5
        assert running.chat("hello").json()["choices"][0]["message"]["content"] == "hello"
        assert [job["phase"] for job in running.jobs()] == ["reading the prompt"]


def test_a_greedy_answer_is_the_same_after_a_cancelled_one(running: RunningEngine) -> None:
    body = ENDLESS | {"max_tokens": 12}
    first = running.complete(**body).json()["choices"][0]["text"]
    with running.answering():
        pass
    with running.stream("/v1/completions", body) as stream:
        texts = [value["choices"][0]["text"] for value in stream if value != "[DONE]"]
    assert "".join(texts) == first and first


def test_status_says_what_runs(running: RunningEngine) -> None:
    with running.answering(llmspell={"options": {"context_size": 4096}}) as stream:
        next(stream)
        status = running.status()
        assert status["pid"] == running.process.pid
        (job,) = status["jobs"]
        assert (job["model"], job["phase"], job["ahead"]) == (SMOLLM2, "answering", 0)
        assert job["tokens"] >= 1
        worker = next(each for each in status["workers"] if each["model"] == SMOLLM2)
        assert (worker["state"], worker["device"], worker["waiting"]) == ("ready", "cpu", 0)
        assert worker["pid"] in [child.pid for child in running.process.children()]


def test_a_hostile_client_name_is_escaped_and_cut(running: RunningEngine) -> None:
    with (
        running.client(
            **{
                "Authorization": f"Bearer {running.connection.token}",
                "X-LLMSpell-Client": "x\x1b[31m" * 1000,
            }
        ) as client,
        client.stream("POST", "/v1/completions", json=ENDLESS | {"stream": True}) as response,
    ):
        assert response.status_code == 200
        (job,) = running.jobs()
        assert len(job["client"]) <= 400 and job["client"].isprintable()


def _answers_at_once(running: RunningEngine) -> None:
    started = time.monotonic()
    answer = running.complete(**ENDLESS | {"max_tokens": 1})
    assert answer.status_code == 200 and answer.json()["choices"][0]["text"]
    assert time.monotonic() - started < 10


def test_a_request_cancelled_at_any_moment_of_its_start_hinders_no_other() -> None:
    """Between two steps of the event loop a process may be half started."""
    request = GenerationRequest(ECHO, prompt="hello world")

    async def ask(engine: Engine) -> list[Any]:
        return [part async for part in engine.answer(request, "test")]

    async def run() -> None:
        for steps in range(40):
            engine = Engine()
            first = asyncio.create_task(ask(engine))
            await _until_loading(engine)
            for _ in range(steps):
                await asyncio.sleep(0)
            first.cancel()
            parts = await asyncio.wait_for(ask(engine), PATIENCE)
            assert isinstance(parts[-1], Completion) and parts[-1].text == "hello world"
            assert not list(engine.jobs)
            await engine.close()
            if first.done() and not first.cancelled():
                return  # Later moments are after its answer.

    async def _until_loading(engine: Engine) -> None:
        # Looks between any two steps of the engine, which no event of its could do.
        while not any(job.phase == Phase.LOADING for job in engine.jobs):  # noqa: ASYNC110
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 100))


def test_progress_comes_before_text() -> None:
    async def run() -> None:
        engine = Engine()
        request = GenerationRequest(ECHO, prompt="a b c")
        parts = [part async for part in engine.answer(request, "test")]
        kinds = [
            part.phase if isinstance(part, Progress) else type(part).__name__ for part in parts
        ]
        assert kinds == [Phase.LOADING, Phase.READING, "Chunk", "Chunk", "Chunk", "Completion"]
        await engine.close()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
