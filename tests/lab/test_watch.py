"""What pages are told of engine, kernels and models: a real server, engine, kernels and hub."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from jupyter_client import BlockingKernelClient

from tests.lab.browser.cells import ENDLESS
from tests.lab.conftest import Place
from tests.lab.test_events import watching
from tests.support import kernelspecs
from tests.support.engines import PATIENCE, jupyter_llmspell, wait_for
from tests.support.kernelspecs import PYTHON, WRAPPED
from tests.support.slow_engine import slow


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_an_engine_that_takes_its_time_answers(place: Place, seconds: float) -> None:
    """What it said a moment ago is news, although the next answer is on its way."""
    assert place.client.status(start_engine=True)
    with slow(place.environment, seconds), watching(place) as stream:
        stream.until(lambda event: _answers(event["status"]))
        looked_on = time.monotonic() + 3
        while time.monotonic() < looked_on:
            assert _answers(place.server.get("status"))
        assert _answers(stream.events[-1][1]["status"])


@pytest.mark.parametrize("command", [PYTHON, WRAPPED], ids=["bare", "wrapped"])
def test_a_job_is_of_the_kernel_that_asked(place: Place, command: list[str]) -> None:
    with kernel(place, command) as (name, client), kernel(place, command):
        client.execute("%load_ext llmspell_jupyter")
        client.execute(ENDLESS)
        (job,) = wait_for(lambda: _jobs(place))
        assert job["kernel"] == name
        assert place.server.post(f"jobs/{job['id']}/cancel") == {"cancelled": True}


def test_a_job_of_somebody_else_is_of_no_kernel(place: Place) -> None:
    name = place.add("lab/of-nobody", seed=7, bytes_per_second=400_000)
    place.server.post("pull", model=name)
    (job,) = wait_for(lambda: _jobs(place))
    assert job["kernel"] is None
    place.server.post(f"jobs/{job['id']}/cancel", discard=True)
    place.hub.mend()


def test_a_page_that_asks_now_and_then_hears_of_models_that_went(place: Place) -> None:
    """Whoever removed them; what came and went between two looks as well."""
    name = place.add("lab/went", seed=8)
    before = place.server.get("models")
    assert place.server.get("status")["models"] == before["mark"]
    [*place.client.follow(place.server.post("pull", model=name)["job"])]
    listed = place.server.get("models")
    (model,) = [each["id"] for each in listed["models"] if each["repository"] == name]
    assert place.server.get("status")["models"] == listed["mark"] != before["mark"]
    done = jupyter_llmspell(place.environment, "model", "remove", model)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: place.server.get("status")["models"] != listed["mark"])
    assert place.server.get("models") == before
    assert place.server.get("status")["models"] == before["mark"]


@contextmanager
def kernel(place: Place, command: list[str]) -> Iterator[tuple[str, BlockingKernelClient]]:
    """A kernel of the server that this command starts: its id, and a client of it."""
    kernelspecs.install(place.environment, "own", command)
    headers = {"Authorization": f"token {place.server.token}"}
    address = f"{place.server.url}api/kernels"
    with httpx.Client(headers=headers, timeout=PATIENCE, trust_env=False) as http:
        name: str = http.post(address, json={"name": "own"}).json()["id"]
        client = BlockingKernelClient()
        file = Path(place.environment["JUPYTER_RUNTIME_DIR"], f"kernel-{name}.json")
        client.load_connection_file(str(file))
        client.start_channels(hb=False)
        try:
            client.kernel_info(reply=True, timeout=PATIENCE)
            yield name, client
        finally:
            client.stop_channels()
            http.delete(f"{address}/{name}")


def _jobs(place: Place) -> list[dict[str, Any]]:
    return (place.server.get("status")["engine"] or {}).get("jobs", [])


def _answers(status: dict[str, object]) -> bool:
    engine = status["engine"]
    return isinstance(engine, dict) and "pid" in engine and "stale" not in engine
