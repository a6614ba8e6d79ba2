"""A request that is cancelled ends within 0.25 s in 95 of 100 cases, in whatever phase it is.

What counts is that its job is gone, and that its worker is free for others or has ended.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from common import verdict

from llmspell_jupyter.types import Phase
from tests.support.engines import ENDLESS, LONG, SMOLLM2, RunningEngine, engine, runs, wait_for

#: Cancels in each phase.
COUNT = 30

_PROGRESS = {"llmspell": {"progress": True}}
_PAIR = {"llmspell": {"progress": True, "options": {"max_concurrent": 2}}}


def run() -> bool:
    good = True
    with engine() as running:
        for name, cancelled in PHASES.items():
            load(running)
            seconds = [cancelled(running, number) for number in range(COUNT)]
            p95 = statistics.quantiles(seconds, n=20)[-1]
            shown = f"median {statistics.median(seconds) * 1000:.0f} ms, most {max(seconds) * 1000:.0f} ms"
            print(f"  {name}: {COUNT} cancels, {shown}")
            good &= verdict(f"95th percentile, {name}", p95, 0.25, "s")
    return good


def load(running: RunningEngine) -> None:
    assert running.complete(**ENDLESS | {"max_tokens": 1}).status_code == 200


def in_queue(running: RunningEngine, number: int) -> float:
    with running.answering(), running.stream("/v1/completions", ENDLESS | _PROGRESS) as stream:
        assert next(stream)["llmspell"]["progress"]["phase"] == Phase.QUEUED
        (job,) = (each for each in running.jobs() if each["phase"] == Phase.QUEUED)
        return until_gone(running, job, lambda: True)


def loading(running: RunningEngine, number: int) -> float:
    """At once, before its process runs, or while it reads the file."""
    running.http.post("/api/unload", json={"model": SMOLLM2, "force": True}).raise_for_status()
    with running.stream("/v1/completions", ENDLESS | _PROGRESS) as stream:
        next(stream)
        job = running.wait_for_job(Phase.LOADING)
        wait_for(lambda: running.jobs()[0]["seconds"] >= number % 4 / 10)
        worker = running.worker(SMOLLM2)
        return until_gone(running, job, lambda: worker is None or not runs(worker))


def reading(running: RunningEngine, number: int) -> float:
    with running.stream("/v1/completions", LONG | _PROGRESS) as stream:
        next(stream)
        job = running.wait_for_job(Phase.READING)
        wait_for(lambda: running.jobs()[0]["seconds"] >= number % 10 / 10)
        return until_gone(running, job, lambda: is_free(running))


def reading_beside(running: RunningEngine, number: int) -> float:
    """In the same batches as the answer of somebody else."""
    endless = ENDLESS | _PAIR | {"max_tokens": 800}
    with running.stream("/v1/completions", endless) as other:
        next(other)
        running.wait_for_job(Phase.ANSWERING)
        with running.stream("/v1/completions", LONG | _PAIR) as stream:
            next(stream)
            job = running.wait_for_job(Phase.READING)
            wait_for(lambda: running.jobs()[-1]["seconds"] >= number % 10 / 10)
            return until_gone(running, job, lambda: is_free(running, **_PAIR))


def answering(running: RunningEngine, number: int) -> float:
    with running.answering():
        (job,) = wait_for(running.jobs)
        wait_for(lambda: running.jobs()[0]["tokens"] > number)
        return until_gone(running, job, lambda: is_free(running))


PHASES: dict[str, Callable[[RunningEngine, int], float]] = {
    "queued": in_queue,
    "loading": loading,
    "reading the prompt": reading,
    "reading beside an answer": reading_beside,
    "answering": answering,
}


def is_free(running: RunningEngine, **rest: Any) -> bool:
    """Whether the worker does what others ask; it waits for that."""
    body = {"model": SMOLLM2, "prompt": "a", **rest}
    return running.http.post("/v1/tokenize", json=body).is_success


def until_gone(running: RunningEngine, job: dict[str, Any], free: Callable[[], bool]) -> float:
    """Seconds from the cancel of a job until nothing of it is left."""
    started = time.perf_counter()
    answer = running.http.post(f"/api/jobs/{job['id']}/cancel")
    assert answer.json() == {"cancelled": True}, answer.text
    wait_for(lambda: all(each["id"] != job["id"] for each in running.jobs()))
    wait_for(free)
    return time.perf_counter() - started
