"""Processes that are killed, and files that are bad: who notices, how soon, and what stays well."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import EngineDied, WorkerDied
from llmspell_jupyter.types import Chunk, Completion, GenerationRequest, Sampling
from tests.support.engines import (
    ECHO,
    ENDLESS,
    LONG,
    SINGLY,
    SMOLLM2,
    RunningEngine,
    attach,
    engine,
    gone_within,
    in_this_process,
    runs,
    runtime_folder,
    wait_for,
)
from tests.support.tiny_gguf import write_tiny_gguf

#: How soon a death must be told, in seconds.
SOON = 2.0

SHORT = ENDLESS | {"max_tokens": 2}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEngine]:
    with engine() as made:
        yield made


def worker_of(running: RunningEngine, model: str) -> psutil.Process:
    return wait_for(lambda: running.worker(model))


def answers_again(running: RunningEngine, dead: psutil.Process) -> None:
    """The engine lives, and a new worker answers."""
    assert runs(running.process)
    assert running.complete(**SHORT).status_code == 200
    assert worker_of(running, SMOLLM2) != dead
    wait_for(lambda: not running.jobs())


def last_error(stream: Iterator[Any]) -> dict[str, Any]:
    """Read a stream to its end, which is an error."""
    *_, last = stream
    error: dict[str, Any] = last["error"]
    assert error["type"] == error["llmspell"]["type"]
    return error["llmspell"]


def test_a_worker_that_is_killed_while_it_answers(running: RunningEngine) -> None:
    with running.answering() as stream:
        worker = worker_of(running, SMOLLM2)
        worker.send_signal(signal.SIGKILL)
        started = time.monotonic()
        error = last_error(stream)
        assert time.monotonic() - started < SOON
    assert error["type"] == "WorkerDied"
    assert "smollm2:135m was ended by SIGKILL" in error["message"]
    assert "the engine is well" in error["message"]
    assert "Run the cell again" in error["hint"] and "CMAKE_ARGS" not in error["hint"]
    assert error["data"]["signal"] == "SIGKILL" and error["data"]["exit_status"] == -9
    assert isinstance(error["data"]["log"], list)
    answers_again(running, worker)


def test_the_log_of_a_crashed_worker_comes_along(running: RunningEngine) -> None:
    with running.answering() as stream:
        worker = worker_of(running, SMOLLM2)
        worker.send_signal(signal.SIGSEGV)
        error = last_error(stream)
    assert "Fatal Python error: Segmentation fault" in error["message"]
    assert any("worker.py" in line for line in error["data"]["log"])
    # It had answered: this is no library that was built for another processor.
    assert "CMAKE_ARGS" not in error["hint"] and "Run the cell again" in error["hint"]
    answers_again(running, worker)


def test_who_waits_behind_a_killed_worker_is_answered(running: RunningEngine) -> None:
    waiting = SHORT | {"llmspell": {"progress": True} | SINGLY}
    with (
        running.answering(llmspell=SINGLY) as first,
        running.stream("/v1/completions", waiting) as second,
    ):
        assert next(second)["llmspell"]["progress"]["phase"] == "queued"
        worker_of(running, SMOLLM2).kill()
        assert last_error(first)["type"] == "WorkerDied"
        *_, usage, end = second
        assert end == "[DONE]" and usage["llmspell"]["metadata"]["completion_tokens"] == 2
    # The other tests look at the model's only worker.
    running.http.post("/api/unload", json={"model": SMOLLM2})


def test_a_worker_that_is_killed_while_idle_is_replaced(running: RunningEngine) -> None:
    assert running.complete(**SHORT).status_code == 200
    worker = worker_of(running, SMOLLM2)
    worker.kill()
    wait_for(lambda: running.status()["workers"][0]["state"] == "dead", SOON)
    answers_again(running, worker)


def own_model(number: int) -> dict[str, Any]:
    """Options that no other test uses, and so a worker of its own."""
    return {"llmspell": {"progress": True, "options": {"context_size": 4000 + number}}}


@pytest.mark.parametrize(
    ("phase", "how"),
    [("loading", signal.SIGSEGV), ("reading the prompt", signal.SIGILL)],
    ids=["loading", "reading"],
)
def test_a_crash_before_the_first_token_tells_how_to_rebuild(
    phase: str, how: signal.Signals
) -> None:
    with (
        engine() as running,
        running.stream("/v1/completions", LONG | own_model(0)) as stream,
    ):
        running.wait_for_job(phase)
        worker = worker_of(running, SMOLLM2)
        worker.send_signal(how)
        started = time.monotonic()
        error = last_error(stream)
        assert time.monotonic() - started < SOON
        assert error["type"] == "WorkerDied"
        assert f"ended by {how.name} before its first token" in error["message"]
        assert 'CMAKE_ARGS="-DGGML_NATIVE=OFF' in error["hint"]
        assert "-m pip install" in error["hint"] and "llama-cpp-python" in error["hint"]
        answers_again(running, worker)


def test_a_killed_worker_that_still_loads_is_not_called_a_bad_build(
    running: RunningEngine,
) -> None:
    with running.stream("/v1/completions", SHORT | own_model(1)) as stream:
        running.wait_for_job("loading")
        worker = wait_for(
            lambda: next(
                (
                    each
                    for each in running.status()["workers"]
                    if each["state"] == "loading" and each["pid"]
                ),
                None,
            )
        )
        os.kill(worker["pid"], signal.SIGKILL)
        error = last_error(stream)
    assert error["type"] == "WorkerDied" and "CMAKE_ARGS" not in error["hint"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reaches a pipe through /proc")
@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff\xff\xff\xff",
        b'\x00\x00\x00\x13{"failed": "a text"}',
        b'\x00\x00\x00\x0e{"loaded": {}}',
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94",
    ],
    ids=["huge", "text", "twice", "pickle"],
)
def test_a_worker_that_sends_nonsense_is_ended(running: RunningEngine, nonsense: bytes) -> None:
    with running.answering() as stream:
        worker = worker_of(running, SMOLLM2)
        # Stopped between two frames, which are shorter than what a pipe takes at once.
        worker.suspend()
        with _answers_of(worker).open("wb", buffering=0) as answers:
            answers.write(nonsense)
        started = time.monotonic()
        error = last_error(stream)
        assert time.monotonic() - started < SOON
        assert error["type"] == "WorkerDied"
        assert any("unreadable message" in line for line in error["data"]["log"])
        assert gone_within([worker], SOON)
    answers_again(running, worker)


def _answers_of(worker: psutil.Process) -> Path:
    """The pipe, beside its standard streams, that a worker writes to."""
    for pipe in Path(f"/proc/{worker.pid}/fd").iterdir():
        flags = Path(f"/proc/{worker.pid}/fdinfo/{pipe.name}").read_text().split("flags:")[1]
        writes = int(flags.split()[0], 8) & os.O_WRONLY
        if int(pipe.name) > 2 and writes and str(pipe.readlink()).startswith("pipe:"):
            return pipe
    raise AssertionError("the worker has no pipe to write to")


# The engine itself


def endless(model: str = SMOLLM2) -> GenerationRequest:
    sampling = Sampling(temperature=0, repeat_penalty=1)
    return GenerationRequest(
        model, prompt=str(ENDLESS["prompt"]), max_tokens=4000, sampling=sampling
    )


def test_an_engine_that_is_killed_while_it_streams() -> None:
    with runtime_folder() as environment, in_this_process(environment):
        client = EngineClient()
        parts = iter(client.generate(endless()))
        while not isinstance(next(parts), Chunk):
            pass
        first = attach(environment)
        assert first is not None
        first.http.close()
        family = first.family()
        assert len(family) == 2
        first.process.kill()
        started = time.monotonic()
        with pytest.raises(EngineDied) as caught:
            list(parts)
        assert time.monotonic() - started < SOON
        assert not isinstance(caught.value, WorkerDied)
        assert f"process {first.process.pid}" in caught.value.message
        assert "engine logs" in caught.value.hint
        assert gone_within(family, SOON)

        *_, last = client.generate(GenerationRequest(ECHO, prompt="hello again"))
        assert isinstance(last, Completion) and last.text == "hello again"
        second = client.status()
        assert second is not None and second["pid"] != first.process.pid
        client.close()


def test_workers_end_with_a_killed_engine_whatever_they_do() -> None:
    # One batch for the whole prompt keeps its worker in native code for seconds.
    reading = own_model(2)
    reading["llmspell"]["options"]["batch_size"] = 4000
    with engine() as running:
        assert running.chat("its worker is idle now").status_code == 200
        with running.stream("/v1/completions", LONG | reading):
            running.wait_for_job("reading the prompt")
            with running.stream("/v1/completions", LONG | own_model(3)):
                running.wait_for_job("loading")
                wait_for(lambda: len(running.family()) == 4)
                family = running.family()
                running.process.kill()
                assert gone_within(family, SOON)


# Files


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[tuple[RunningEngine, Path]]:
    file = tmp_path / "tiny-1m" / "model.gguf"
    file.parent.mkdir()
    write_tiny_gguf(file)
    with engine(LLMSPELL_MODEL_PATH=str(tmp_path)) as running:
        yield running, file


def tiny_error(running: RunningEngine) -> dict[str, Any]:
    started = time.monotonic()
    response = running.complete(model="tiny-1m", prompt="the sea", max_tokens=2)
    assert time.monotonic() - started < 10
    assert response.status_code in (400, 404), response.text
    error: dict[str, Any] = response.json()["error"]["llmspell"]
    return error


def test_a_file_that_was_removed_after_it_was_listed(tiny: tuple[RunningEngine, Path]) -> None:
    running, file = tiny
    assert "tiny-1m" in [each["id"] for each in running.http.get("/v1/models").json()["data"]]
    file.unlink()
    assert tiny_error(running)["type"] == "ModelNotFound"
    assert running.chat("hello").status_code == 200


def test_a_file_that_was_removed_while_its_worker_starts(tiny: tuple[RunningEngine, Path]) -> None:
    running, file = tiny
    body = {"model": "tiny-1m", "prompt": "the sea", "llmspell": {"progress": True}}
    with running.stream("/v1/completions", body) as stream:
        worker = worker_of(running, "tiny-1m")
        worker.suspend()
        file.unlink()
        worker.resume()
        error = last_error(stream)
    assert error["type"] == "BadModelFile" and "no such file" in error["message"]
    assert running.chat("hello").status_code == 200
    assert gone_within([worker], SOON)


def test_a_file_that_was_replaced_is_loaded_anew(tiny: tuple[RunningEngine, Path]) -> None:
    running, file = tiny
    body = {"model": "tiny-1m", "prompt": "the sea", "max_tokens": 8, "temperature": 0}
    first = running.complete(**body).json()["choices"][0]["text"]
    write_tiny_gguf(file.with_name("new"), seed=1).replace(file)
    os.utime(file, (1, 1))
    assert running.complete(**body).json()["choices"][0]["text"] != first


def _after(key: bytes, value: bytes, data: bytes) -> bytes:
    """The file with another value of a metadata key of 32 bits."""
    start = data.index(key) + len(key) + 4
    return data[:start] + value + data[start + len(value) :]


BAD = {
    "empty": (lambda data: b"", "empty"),
    "text": (lambda data: b"<html>not found</html>", "does not begin with 'GGUF'"),
    "garbage": (lambda data: b"GGUF" + bytes(range(256)) * 50, "version"),
    "cut in its header": (lambda data: data[:3000], "ends at byte 3000"),
    "cut in the middle": (lambda data: data[: len(data) // 2], "cut short"),
    "cut at its end": (lambda data: data[:-1], "not within the file bounds"),
    "no layers": (lambda data: _after(b"llama.block_count", bytes(4), data), "block_count is 0"),
    "too many layers": (
        lambda data: _after(b"llama.block_count", b"\xff\xff\xff\x7f", data),
        "block_count is 2147483647",
    ),
    "a token twice": (lambda data: data.replace(b"<0x41>", b"<0x42>"), "holds '<0x42>' twice"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_with_its_cause(tiny: tuple[RunningEngine, Path], kind: str) -> None:
    running, file = tiny
    change, says = BAD[kind]
    file.write_bytes(change(file.read_bytes()))
    assert "tiny-1m" in [each["id"] for each in running.http.get("/v1/models").json()["data"]]
    error = tiny_error(running)
    assert error["type"] == "BadModelFile"
    assert file.name in error["message"] and says in error["message"]
    assert "Fetch or copy the file again" in error["hint"]
    assert Path(error["data"]["path"]) == file
    assert running.chat("hello").status_code == 200
    assert not [each for each in running.status()["workers"] if each["model"] == "tiny-1m"]
    wait_for(lambda: len(running.family()) == 2)
