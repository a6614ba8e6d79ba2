"""What pages are told of the engine, of kernels and of models: a real server, engine, kernels."""

from __future__ import annotations

import time

import pytest

from tests.lab.conftest import Place
from tests.lab.test_events import watching
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


def _answers(status: dict[str, object]) -> bool:
    engine = status["engine"]
    return isinstance(engine, dict) and "pid" in engine and "stale" not in engine
