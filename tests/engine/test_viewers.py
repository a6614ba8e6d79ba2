"""Viewers that leave a download or a check: the engine takes it calmly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspell_jupyter.config import paths
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.types import PullRequest
from tests.support import hub_server
from tests.support.engines import (
    PATIENCE,
    RunningEngine,
    attach,
    gone_within,
    in_this_process,
    runtime_folder,
    wait_for,
)
from tests.support.hub_server import Hub

REPOSITORY = "owner/model-GGUF"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.hub() as made:
        made.add(REPOSITORY, {"model-Q4_0.gguf": b"GGUF" + bytes(1024**2)})
        yield made


@pytest.fixture
def running(hub: Hub, tmp_path: Path) -> Iterator[RunningEngine]:
    """An engine that logs as a notebook's does."""
    variables = {"HF_HOME": str(tmp_path), "JPY_PARENT_PID": str(os.getpid())}
    with (
        runtime_folder(**variables, **hub.environment) as environment,
        in_this_process(environment),
    ):
        client = EngineClient()
        assert client.status(start_engine=True)
        client.close()
        made = attach(environment)
        assert made is not None
        yield made
        made.http.close()


def begin(hub: Hub) -> str:
    """A download that goes on for long; its id."""
    client = EngineClient()
    pull = client.pull(PullRequest(f"hf.co/{REPOSITORY}", sources=hub.sources()))
    next(iter(pull))
    pull.detach()
    client.close()
    return pull.job


def watch(running: RunningEngine, job: str, lines: int) -> None:
    """Leave after so many lines of the stream."""
    with running.http.stream("GET", f"/api/jobs/{job}/events") as response:
        seen = response.iter_lines()
        for _ in range(lines):
            next(seen)


@pytest.mark.parametrize("pace", ["silent", "drip"])
def test_who_leaves_is_not_an_error_in_the_log(
    hub: Hub, running: RunningEngine, pace: hub_server.Kind
) -> None:
    if pace == "silent":
        hub.fault(f"/api/models/{REPOSITORY}", "silent")
    else:
        hub.fault(f"{REPOSITORY}/model-Q4_0.gguf", "drip", bytes_per_second=20_000)
    job = begin(hub)
    for _ in range(20):
        watch(running, job, 1)
    wait_for(lambda: viewers(running, job) == 0)
    running.process.terminate()
    assert gone_within([running.process], PATIENCE)
    log = paths.engine_log().read_text("utf-8")
    assert "Engine ended" in log and "Error" not in log and "Traceback" not in log, log


def viewers(running: RunningEngine, job: str) -> int:
    (found,) = [each for each in running.jobs() if each["id"] == job]
    count: int = found["viewers"]
    return count
