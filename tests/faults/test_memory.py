"""Models share what memory there is: who leaves, who stays, and what is said when it is short."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.engines import ECHO, RunningEngine, engine, gone_within, runs, wait_for
from tests.support.tiny_gguf import write_tiny_gguf

MB = 10**6

# The tiny models need 71 MB each.
ONE, TWO = 100 * MB, 160 * MB
OPTIONS = {"context_size": 64, "cpu_threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for number, name in enumerate("abcd"):
        write_tiny_gguf(folder / f"{name}.gguf", seed=number)
    write_tiny_gguf(folder / "huge.gguf", context=2**31 - 1)
    return folder


@pytest.fixture(scope="module")
def tight() -> Iterator[RunningEngine]:
    """An engine in which one model fits."""
    with limited(ONE) as running:
        yield running


@contextmanager
def limited(limit: int, **variables: str) -> Iterator[RunningEngine]:
    with engine(LLMSPELL_ENGINE_MEMORY_LIMIT_BYTES=str(limit), **variables) as running:
        yield running


def load(running: RunningEngine, model: Path, **options: int) -> httpx.Response:
    body = {"model": str(model), "llmspell": {"options": OPTIONS | options}}
    return running.http.post("/api/load", json=body)


def ask(running: RunningEngine, model: Path) -> httpx.Response:
    return running.complete(
        model=str(model), prompt="the sea", max_tokens=3, llmspell={"options": OPTIONS}
    )


def loaded(running: RunningEngine) -> set[str]:
    return {Path(each["model"]).stem for each in running.status()["workers"]}


def worker_of(running: RunningEngine, model: Path) -> psutil.Process:
    found = running.worker(str(model))
    assert found is not None
    return found


@contextmanager
def busy(running: RunningEngine, model: Path) -> Iterator[psutil.Process]:
    """Somebody waits for an answer of the model while the block runs."""
    assert load(running, model).status_code == 200
    worker = worker_of(running, model)
    worker.suspend()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(ask(running, model)))
    asking.start()
    running.wait_for_job("reading the prompt")
    try:
        yield worker
    finally:
        worker.resume()
        asking.join(30)
    assert answers[0].status_code == 200


def test_the_model_that_was_used_least_recently_leaves(folder: Path) -> None:
    a, b, c = (folder / f"{name}.gguf" for name in "abc")
    with limited(TWO) as running:
        assert [load(running, each).status_code for each in (a, b)] == [200, 200]
        assert ask(running, a).status_code == 200
        leaving = worker_of(running, b)
        # It takes its time to end; the next load waits for that. An answer makes room, too.
        leaving.suspend()
        assert ask(running, c).status_code == 200
        assert not runs(leaving) and loaded(running) == {"a", "c"}
        needs = [each["need_bytes"] for each in running.status()["workers"]]
        assert all(60 * MB < need < 80 * MB for need in needs)


def test_a_model_that_works_stays_and_the_error_has_the_numbers(
    tight: RunningEngine, folder: Path
) -> None:
    a, b = folder / "a.gguf", folder / "b.gguf"
    with busy(tight, a):
        refused = load(tight, b)
        assert refused.status_code == 507
        error = refused.json()["error"]
        assert error["type"] == "NotEnoughMemory"
        assert f"{b} needs 71 MB" in error["message"]
        assert "are free below memory_limit_bytes" in error["message"]
        assert f"type: %model_unload {a} --force" in error["llmspell"]["hint"]
        facts = error["llmspell"]["data"]
        assert [each["model"] for each in facts["loaded"]] == [str(a)]
        assert facts["need"]["total"] > facts["free"] > 0
        assert loaded(tight) == {"a"}
    # It is idle then, and leaves.
    assert load(tight, b).status_code == 200
    assert loaded(tight) == {"b"}


def test_a_header_that_claims_a_huge_context_drives_nobody_out(
    tight: RunningEngine, folder: Path
) -> None:
    assert load(tight, folder / "a.gguf").status_code == 200
    before = worker_of(tight, folder / "a.gguf")
    refused = load(tight, folder / "huge.gguf", context_size=0)
    assert refused.status_code == 507
    error = refused.json()["error"]
    assert error["type"] == "NotEnoughMemory" and "0.1 GB at most" in error["message"]
    assert "a smaller context_size" in error["llmspell"]["hint"]
    assert worker_of(tight, folder / "a.gguf") == before and runs(before)
    # With a context that fits, the same file does.
    assert load(tight, folder / "huge.gguf").status_code == 200


def test_loads_at_the_same_time_take_no_more_than_there_is(folder: Path) -> None:
    with limited(TWO) as running, ThreadPoolExecutor(8) as threads:
        models = [folder / f"{name}.gguf" for name in "abcd"]
        answers = list(threads.map(lambda each: ask(running, each).status_code, models))
        assert set(answers) <= {200, 507} and answers.count(200) >= 2
        assert sum(each["need_bytes"] for each in running.status()["workers"]) <= TWO


def test_a_pinned_model_stays(folder: Path) -> None:
    a, b = folder / "a.gguf", folder / "b.gguf"
    with limited(
        ONE, LLMSPELL_MODELS_PINNED=f"echo,{a}", LLMSPELL_ENGINE_MODEL_TTL_SECONDS="0.2"
    ) as running:
        assert load(running, a).status_code == 200
        assert load(running, b).status_code == 507
        (status,) = running.status()["workers"]
        assert status["pinned"] and status["leaves_in_seconds"] is None
        # Its time would be over.
        wait_for(lambda: running.status()["workers"][0]["idle_seconds"] >= 1)
        assert loaded(running) == {"a"}
        assert running.http.post("/api/unload", json={"model": str(a)}).json() == {"unloaded": 1}


def test_a_model_leaves_when_nobody_has_used_it_for_its_time(folder: Path) -> None:
    a = folder / "a.gguf"
    with engine(LLMSPELL_ENGINE_MODEL_TTL_SECONDS="1") as running:
        with busy(running, a) as worker:
            (status,) = running.status()["workers"]
            assert status["idle_seconds"] is None and status["leaves_in_seconds"] is None
            seconds = running.jobs()[0]["seconds"]
            wait_for(lambda: running.jobs()[0]["seconds"] > seconds + 1.5)
            assert runs(worker)
        (status,) = running.status()["workers"]
        assert 0 < status["leaves_in_seconds"] <= 1 == status["ttl_seconds"]
        assert gone_within([worker], 10)
        assert not running.status()["workers"]
        assert ask(running, a).status_code == 200


def test_no_time_is_for_ever(folder: Path) -> None:
    with engine(LLMSPELL_ENGINE_MODEL_TTL_SECONDS="0") as running:
        assert load(running, folder / "a.gguf").status_code == 200
        (status,) = running.status()["workers"]
        assert status["leaves_in_seconds"] is None and status["ttl_seconds"] == 0


def test_the_worker_of_a_replaced_file_leaves(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "m.gguf")
    with engine() as running:
        with busy(running, model) as old:
            fresh = write_tiny_gguf(tmp_path / "new", seed=1)
            os.utime(fresh, (10**9, 10**9))
            fresh.replace(model)
            assert ask(running, model).status_code == 200
            assert runs(old)
        assert gone_within([old], 10)
        wait_for(lambda: len(running.status()["workers"]) == 1)


def rounds(running: RunningEngine, count: int) -> None:
    sizes = []
    before = running.process.children()
    for _ in range(count):
        assert running.chat("a b c").status_code == 200
        worker = running.worker(ECHO)
        assert worker is not None
        assert running.http.post("/api/unload", json={"model": ECHO}).json() == {"unloaded": 1}
        assert not runs(worker) and running.process.children() == before
        sizes.append(running.process.memory_info().rss)
    assert abs(sizes[-1] - sizes[2]) <= 0.1 * sizes[2], sizes


def test_memory_comes_back_each_time() -> None:
    with engine() as running:
        rounds(running, 10)


@pytest.mark.stress
def test_memory_comes_back_each_of_many_times() -> None:
    with engine() as running:
        rounds(running, 30)
