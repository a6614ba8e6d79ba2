"""A pull that is cancelled ends in the engine, also where the engine has not said its id yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmspell_jupyter.engine.client import EngineClient, Pull
from llmspell_jupyter.errors import Interrupted, InvalidModelSpec
from llmspell_jupyter.types import PullRequest
from tests.support import hub_server, pulls
from tests.support.engine_proxy import EngineProxy, engine_proxy
from tests.support.engines import RunningEngine, engine, in_this_process, wait_for
from tests.support.hub_server import Hub

PULL = "POST /api/pull"
STATUS = "%llmspell_status"


@dataclass
class Room:
    """An engine that fetches slowly, seen through a proxy."""

    hub: Hub
    engine: RunningEngine
    proxy: EngineProxy
    client: EngineClient

    def pull(self) -> Pull:
        request = PullRequest(f"hf.co/{pulls.REPOSITORY}", sources=self.hub.sources())
        return self.client.pull(request)

    def job(self) -> str:
        """The id of the only job, once there is one."""
        (job,) = wait_for(self.engine.jobs)
        return str(job["id"])

    def cancellations(self) -> list[str]:
        return [each for each in self.proxy.asked if each.endswith("/cancel")]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with (
        hub_server.hub() as hub,
        engine(HF_HOME=str(tmp_path), **hub.environment) as running,
        in_this_process(running.environment),
        engine_proxy(running) as proxy,
    ):
        hub.add(pulls.REPOSITORY, pulls.files())
        # Half a minute.
        hub.fault(pulls.KEY, "drip", bytes_per_second=35_000)
        client = EngineClient()
        yield Room(hub, running, proxy, client)
        client.close()


def test_a_cancel_outlasts_the_wait_for_the_jobs_id(room: Room) -> None:
    held = room.proxy.hold(PULL)
    pull = room.pull()
    job = room.job()
    pull.cancel()
    with pytest.raises(Interrupted, match="has not ended its job yet") as caught:
        list(pull)
    assert STATUS in caught.value.hint and "the same line again" in caught.value.hint
    assert pull.lingering is caught.value
    # Whoever gives up waiting changes nothing.
    pull.detach()
    assert list(pull) == []
    assert room.engine.jobs() and not room.cancellations()
    held.set()
    wait_for(lambda: not room.engine.jobs())
    assert room.cancellations() == [f"POST /api/jobs/{job}/cancel"]
    wait_for(lambda: pull.lingering is None)


def test_one_that_nobody_watches_can_be_cancelled_before_its_id_is_known(room: Room) -> None:
    held = room.proxy.hold(PULL)
    pull = room.pull()
    room.job()
    pull.detach()
    assert list(pull) == []
    pull.cancel()
    held.set()
    wait_for(lambda: not room.engine.jobs())


def test_one_that_nobody_watches_goes_on(room: Room) -> None:
    held = room.proxy.hold(PULL)
    pull = room.pull()
    room.job()
    pull.detach()
    held.set()
    # The watching ends, the job does not.
    wait_for(lambda: not any(each["viewers"] for each in room.engine.jobs()) and pull.job)
    assert room.engine.jobs() and not room.cancellations()


def test_a_cancel_that_does_not_arrive_is_told_at_once(room: Room) -> None:
    pull = room.pull()
    steps = iter(pull)
    next(steps)
    room.proxy.cut(f"POST /api/jobs/{pull.job}/cancel")
    pull.cancel()
    with pytest.raises(Interrupted, match="has not ended its job yet") as caught:
        list(steps)
    assert STATUS in caught.value.hint
    assert caught.value.data == {"job": pull.job}
    assert room.engine.jobs()


def test_a_cancel_that_an_engine_does_not_hear_is_told(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmspell_jupyter.engine.start._ANSWER_SECONDS", 1.0)
    pull = room.pull()
    steps = iter(pull)
    next(steps)
    room.engine.process.suspend()
    try:
        pull.cancel()
        with pytest.raises(Interrupted, match="has not ended its job yet") as caught:
            list(steps)
        assert STATUS in caught.value.hint
    finally:
        room.engine.process.resume()


def test_a_refusal_of_what_is_cancelled_is_no_lingering_job(room: Room) -> None:
    held = room.proxy.hold(PULL)
    pull = room.client.pull(PullRequest("a b"))
    wait_for(lambda: PULL in room.proxy.asked)
    pull.cancel()
    held.set()
    with pytest.raises(InvalidModelSpec):
        list(pull)
    wait_for(lambda: pull.lingering is None)
    assert not room.cancellations()


def test_closing_the_client_ends_a_cancel_that_waits(room: Room) -> None:
    room.proxy.hold(PULL)
    pull = room.pull()
    room.job()
    pull.cancel()
    room.client.close()
    assert not [each for each in pull if each.job]
