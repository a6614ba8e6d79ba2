"""One stream tells pages what goes on: pulls, checks, loads, and models that come and go."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llmspell_jupyter.errors import HashMismatch
from llmspell_jupyter.types import PullPhase, PullRequest
from tests.lab.conftest import SIZE, Place
from tests.support import pulls
from tests.support.engines import PATIENCE, SMOLLM2, wait_for

#: The model's file takes some ten seconds at this rate.
SLOW = 400_000

Event = dict[str, Any]


class Stream:
    """The events of one stream as they come, with their times."""

    def __init__(self) -> None:
        self.events: list[tuple[float, Event]] = []
        self._came = threading.Condition()

    def take(self, event: Event) -> None:
        with self._came:
            self.events.append((time.monotonic(), event))
            self._came.notify_all()

    def wait_for(self, look: Callable[[Event], Any]) -> Event:
        """The first event, past or to come, of which this holds."""
        seen = 0
        deadline = time.monotonic() + PATIENCE
        while True:
            with self._came:
                while len(self.events) == seen:
                    left = deadline - time.monotonic()
                    assert self._came.wait(left), f"never: {look}; last {self.events[-1:]}"
                found = [event for _, event in self.events[seen:] if look(event)]
                seen = len(self.events)
            if found:
                return found[0]

    def until(self, look: Callable[[Event], Any]) -> None:
        """Wait until this holds of the last event that came."""
        deadline = time.monotonic() + PATIENCE
        with self._came:
            while not (self.events and look(self.events[-1][1])):
                left = deadline - time.monotonic()
                assert self._came.wait(left), f"never: {look}; last {self.events[-1:]}"

    def forget(self) -> None:
        with self._came:
            self.events.clear()


@contextmanager
def watching(place: Place) -> Iterator[Stream]:
    """A page's stream, read on a thread."""
    stream = Stream()
    gone = threading.Event()

    def read() -> None:
        with place.server.events() as events:
            for event in events:
                stream.take(event)
                if gone.is_set():
                    return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield stream
    finally:
        gone.set()
        # Any change brings the thread to its end.
        place.server.http.post("load", json={"model": f"nobody/has-{time.monotonic_ns()}"})
        thread.join(PATIENCE)
        assert not thread.is_alive()


def jobs(event: Event, kind: str = "pull") -> list[dict[str, Any]]:
    engine = event["status"]["engine"] or {}
    return [each for each in engine.get("jobs", ()) if each["kind"] == kind]


def done(event: Event, job: str) -> int:
    return next((each["progress"]["done"] for each in jobs(event) if each["id"] == job), -1)


def ended(event: Event, job: str) -> list[dict[str, Any]]:
    """The job, once it is over."""
    engine = event["status"]["engine"] or {}
    return [each for each in engine.get("ended", ()) if each["id"] == job]


def is_idle(event: Event) -> bool:
    return not (event["status"]["engine"] or {}).get("jobs")


def here(place: Place) -> list[str]:
    """Repositories of the models on this machine."""
    return [each["repository"] for each in place.server.get("models")["models"]]


def tells(place: Place, look: Callable[[list[str]], bool]) -> Callable[[Event], bool]:
    """Whether models are as is looked for; asked, as by a page, when other marks come than now."""
    marks = [place.server.get("models")["mark"]]

    def told(event: Event) -> bool:
        mark = event["status"]["models"]
        if mark != marks[-1]:
            marks.append(mark)
            return look(here(place))
        return False

    return told


def test_a_pull_is_told_four_times_a_second_to_its_end(place: Place) -> None:
    name = place.add("lab/followed", seed=1, bytes_per_second=SLOW)
    comes = [tells(place, lambda models: name in models) for _ in range(2)]
    with watching(place) as stream, watching(place) as second:
        stream.wait_for(bool)
        first = place.server.post("pull", model=name)
        assert first["phase"] == "starting" and len(first["job"]) == 32
        # Joined, not begun twice.
        assert place.server.post("pull", model=name)["job"] == first["job"]
        stream.wait_for(lambda event: done(event, first["job"]) > 0)
        stream.forget()
        stream.wait_for(lambda event: done(event, first["job"]) > SIZE // 3)
        times = [when for when, event in stream.events if jobs(event)]
        rate = (len(times) - 1) / (times[-1] - times[0])
        print(f"\n{rate:.1f} events a second")
        assert rate >= 4
        told = [done(event, first["job"]) for _, event in stream.events if jobs(event)]
        assert told == sorted(told) and len(set(told)) > 4
        (job,) = jobs(stream.events[-1][1])
        assert job["progress"]["bytes_per_second"] and job["progress"]["total"] >= SIZE
        place.hub.mend()
        for each, told in zip((stream, second), comes, strict=True):
            each.wait_for(told)
            each.until(is_idle)


def test_a_pull_that_is_cancelled_goes_on_later(place: Place) -> None:
    name = place.add("lab/paused", seed=2, bytes_per_second=SLOW)
    with watching(place) as stream:
        job = place.server.post("pull", model=name)["job"]
        stream.wait_for(lambda event: done(event, job) > SIZE // 4)
        assert place.server.post(f"jobs/{job}/cancel") == {"cancelled": True}
        stream.until(is_idle)
        assert place.partials(name)
        place.hub.mend()
        told = tells(place, lambda models: name in models)
        again = place.server.post("pull", model=name)["job"]
        stream.wait_for(told)
    end = [*place.client.follow(again)][-1]
    assert end.metadata["downloaded"] < SIZE * 3 // 4


def test_a_locked_pull_that_is_cancelled_goes_on_with_its_lock(place: Place) -> None:
    name = place.add("lab/locked", seed=7, bytes_per_second=SLOW)
    files = pulls.files(SIZE, seed=7)
    locked = tuple(
        (path, hashlib.sha256(bytes(content)).hexdigest())  # type: ignore[arg-type]
        for path, content in files.items()
    )
    sources = place.hub.sources()
    with watching(place) as stream:
        job = place.client.pull_in_background(
            PullRequest(f"hf.co/{name}@candle", locked=locked, sources=sources)
        )
        stream.wait_for(lambda event: done(event, job) > SIZE // 8)
        assert place.server.post(f"jobs/{job}/cancel") == {"cancelled": True}
        event = stream.wait_for(lambda event: ended(event, job))
    place.hub.mend()
    (left,) = ended(event, job)
    asked = left["asked"]
    again = place.server.post("pull", **asked)["job"]
    assert [*place.client.follow(again)][-1].phase is PullPhase.COMPLETE
    # What a page sends back is compared still.
    other = asked | {"locked": [[path, "0" * 64] for path, _ in asked["locked"]]}
    refused = place.server.post("pull", **other)["job"]
    with pytest.raises(HashMismatch):
        [*place.client.follow(refused)]


def test_a_pull_that_is_cancelled_with_discard_leaves_nothing(place: Place) -> None:
    name = place.add("lab/discarded", seed=3, bytes_per_second=SLOW)
    with watching(place) as stream:
        job = place.server.post("pull", model=name)["job"]
        stream.wait_for(lambda event: done(event, job) > SIZE // 8)
        assert place.partials(name)
        assert place.server.post(f"jobs/{job}/cancel", discard=True) == {"cancelled": True}
        assert not (place.cache / "models--lab--discarded").exists()
        stream.until(is_idle)
    place.hub.mend()


def test_a_check(place: Place) -> None:
    name = place.add("lab/checked", seed=4)
    with watching(place) as stream:
        [*place.client.follow(place.server.post("pull", model=name)["job"])]
        (model,) = [
            each for each in place.server.get("models")["models"] if each["repository"] == name
        ]
        said = place.server.post("verify", model=model["id"])
        assert said["model"] == model["id"]
        stream.wait_for(lambda event: ended(event, said["job"]))


def test_a_model_that_is_removed(place: Place) -> None:
    name = place.add("lab/removed", seed=5)
    [*place.client.follow(place.server.post("pull", model=name)["job"])]
    (model,) = [each for each in place.server.get("models")["models"] if each["repository"] == name]
    told = tells(place, lambda models: name not in models)
    with watching(place) as stream:
        stream.wait_for(bool)
        assert place.server.post("remove", model=model["id"])["bytes"] > SIZE
        stream.wait_for(told)


def workers(event: Event, state: str) -> list[str]:
    engine = event["status"]["engine"] or {}
    return [each["model"] for each in engine.get("workers", ()) if each["state"] == state]


def test_a_load_and_an_unload(place: Place) -> None:
    with watching(place) as stream:
        assert place.server.post("load", model=SMOLLM2)["loading"] in (True, False)
        stream.wait_for(lambda event: SMOLLM2 in workers(event, "ready"))
        stream.wait_for(
            lambda event: (
                (SMOLLM2, "ready")
                in [(each["model"], each["phase"]) for each in event["status"]["loads"]]
            )
        )
        # Ready already.
        assert place.server.post("load", model=SMOLLM2) == {"loading": False}
        assert place.server.post("unload", model=SMOLLM2) == {"unloaded": 1}
        stream.until(lambda event: not workers(event, "ready"))
    assert place.server.post("unload", model=SMOLLM2) == {"unloaded": 0}


def test_a_load_goes_on_without_the_page_and_says_how_it_ended(place: Place) -> None:
    answer = place.server.http.post("load", json={"model": "nobody/has-it"})
    assert (answer.status_code, answer.json()["type"]) == (404, "ModelNotFound")
    (load,) = [
        each for each in place.server.get("status")["loads"] if each["model"] == "nobody/has-it"
    ]
    assert (load["phase"], load["error"]["type"]) == ("failed", "ModelNotFound")


def test_an_answer_is_told_and_cancelled(place: Place) -> None:
    from llmspell_jupyter.types import GenerationRequest, Sampling

    with watching(place) as stream:
        answer = place.client.generate(
            GenerationRequest(
                SMOLLM2,
                prompt="a b a b a b a b",
                max_tokens=4000,
                sampling=Sampling(temperature=0, repeat_penalty=1),
            )
        )
        said = stream.wait_for(lambda event: [j for j in jobs(event, "answer") if j["tokens"] > 5])
        (job,) = jobs(said, "answer")
        assert job["tokens_per_second"] > 0
        assert place.server.post(f"jobs/{job['id']}/cancel") == {"cancelled": True}
        stream.until(is_idle)
        answer.cancel()


def test_a_quiet_server_says_little(place: Place) -> None:
    wait_for(lambda: not place.client.status()["jobs"])
    with watching(place) as stream:
        stream.wait_for(bool)
        time.sleep(3)
        assert len(stream.events) <= 3, stream.events


def test_the_engine_lives_on_when_nobody_watches(place: Place) -> None:
    job = place.server.post(
        "pull", model=place.add("lab/alone", seed=6, bytes_per_second=SLOW * 4)
    )["job"]
    with watching(place) as stream:
        stream.wait_for(lambda event: done(event, job) > 0)
    place.hub.mend()
    assert [*place.client.follow(job)][-1].percent == 100
