"""What the routes answer: a real server below a path, a real engine, a real hub."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from llmspell_jupyter.config import profiles
from llmspell_jupyter.models import catalog
from llmspell_jupyter.types import LoadRequest, Lookup
from tests.lab.conftest import Place
from tests.lab.routes import DONE, READ
from tests.support.engines import PATIENCE, SMOLLM2, attach, connection_file, wait_for
from tests.support.jupyter_servers import server
from tests.support.tiny_gguf import write_tiny_gguf


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder."""
    return {
        str(each.relative_to(folder)): (each.lstat().st_size, each.lstat().st_mtime_ns)
        for each in folder.rglob("*")
    }


def test_reading_starts_no_engine_writes_nothing_and_asks_no_network(place: Place) -> None:
    places = [Path(place.environment[name]) for name in ("HOME", "JUPYTER_RUNTIME_DIR")]
    places.append(place.server.log.parent / "root")
    # The server itself notes who may log in when somebody does for the first time.
    place.server.get("status")
    before = [tree(each) for each in places]
    for path in READ:
        if path == "events":
            with place.server.events() as events:
                assert next(events)["status"]["engine"] is None
        else:
            place.server.http.get(path, params={"key": "models.path"})
    assert [tree(each) for each in places] == before
    assert not connection_file(place.environment).exists()
    assert not psutil.Process(place.server.process.pid).children(recursive=True)
    assert place.hub.requests == []


def test_status_without_an_engine(place: Place) -> None:
    said = place.server.get("status")
    assert said["engine"] is None and said["loads"] == []
    assert 0 < said["machine"]["memory_available"] <= said["machine"]["memory_total"]


def test_models_and_catalog(place: Place) -> None:
    models = {each["id"]: each for each in place.server.get("models")["models"]}
    assert models[SMOLLM2]["store"] == "bundled" and Path(models[SMOLLM2]["path"]).is_file()
    said = place.server.get("catalog")
    offers = {each["id"]: each for each in said["models"]}
    assert set(catalog.models(Lookup())) <= set(offers)
    assert offers[SMOLLM2]["installed"]
    assert said["notes"] == []


def test_profiles_and_where_a_value_comes_from(place: Place) -> None:
    said = place.server.get("profiles")
    assert [each["name"] for each in said["profiles"]] == [each.name for each in profiles.listing()]
    assert all(each["description"] for each in said["profiles"])
    assert (said["default"], said["error"]) == (profiles.DEFAULT, None)
    key = "providers.candle.default_model"
    assert "smollm2:135m" in place.server.get("config/explain", key=key)["text"]
    text = place.server.get("config/explain", key=key, profile="ollama")["text"]
    assert text.startswith(f"{key} = ")


def test_what_is_wrong_is_said_with_what_to_do(place: Place) -> None:
    # A load that waits for an engine to start is not refused at once.
    assert place.client.status(start_engine=True)
    for path, body, status, kind in (
        ("load", {}, 400, "RequestError"),
        ("load", {"model": 8}, 400, "RequestError"),
        ("load", {"model": "x", "more": 1}, 400, "RequestError"),
        ("load", {"model": "nobody/has-it"}, 404, "ModelNotFound"),
        ("pull", {"model": "m", "bytes_per_second": -1}, 400, "RequestError"),
        ("info", {"model": "nobody/has-it"}, 404, "ModelNotFound"),
        ("remove", {"model": SMOLLM2}, 403, "NotRemovable"),
        (f"jobs/{'0' * 32}/cancel", {"discard": True}, 400, "RequestError"),
        ("nowhere", {}, 404, "HTTPError"),
    ):
        answer = place.server.http.post(path, json=body)
        said = answer.json()
        assert (answer.status_code, said["type"]) == (status, kind), (path, said)
        assert said["message"] and set(said) == {"message", "hint", "type", "data"}
    for query, kind in (
        ({}, "RequestError"),
        ({"key": "models.nothing"}, "ConfigError"),
        ({"key": "models.path", "profile": "nobodys"}, "UnknownProfile"),
    ):
        answer = place.server.http.get("config/explain", params=query)
        assert (answer.status_code, answer.json()["type"]) == (400, kind), answer.text


def test_a_model_that_was_loaded_by_its_path_is_ejected_by_it(place: Place) -> None:
    # Longer than any name.
    folder = Path(place.environment["HOME"], *["f" * 200] * 3)
    folder.mkdir(parents=True)
    path = str(write_tiny_gguf(folder / "own.gguf", seed=3))
    assert place.server.post("unload", model=path) == {"unloaded": 0}
    [*place.client.load(LoadRequest(path))]
    assert path in loaded(place)
    assert place.server.post("unload", model=f"{path}/../own.gguf") == {"unloaded": 0}
    assert place.server.post("unload", model=path) == {"unloaded": 1}
    assert path not in loaded(place)
    answer = place.server.http.post("load", json={"model": path[:200]})
    assert (answer.status_code, answer.json()["type"]) == (400, "RequestError")


def loaded(place: Place) -> list[str]:
    """What the engine holds."""
    return [each["model"] for each in place.client.status()["workers"]]


def test_judging_searching_and_what_is_known(place: Place) -> None:
    assert place.server.post("fit", model=SMOLLM2)["light"] in ("green", "amber", "red")
    place.add("lab/searched")
    found = place.server.post("search", search="searched", backend="candle")
    assert "lab/searched" in [each["repository"] for each in found["models"]]
    assert place.server.post("info", model=SMOLLM2)["header"]["general.architecture"] == "llama"


def test_a_configuration_that_changes_is_followed(place: Place) -> None:
    file = Path(place.environment["HOME"], ".llmspell.toml")
    folder = Path(place.environment["HOME"], "own-models")
    folder.mkdir()
    key = "providers.candle.model_directory"
    file.write_text(f'[providers.candle]\nmodel_directory = "{folder}"\n')
    try:
        assert str(folder) in place.server.get("config/explain", key=key)["text"]
        file.write_text("[providers.candle]\nmodel_directory = 8\n")
        answer = place.server.http.get("models")
        assert answer.status_code == 400 and answer.json()["type"] == "ConfigError"
        said = place.server.get("profiles")
        assert said["error"]["type"] == "ConfigError" and said["profiles"]
    finally:
        file.unlink()
    assert place.server.get("models")["models"]


@contextmanager
def hanging(place: Place) -> Iterator[None]:
    """The engine does not answer while the block runs."""
    assert place.client.status(start_engine=True)
    running = attach(place.environment)
    assert running is not None
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(running.process.pid, signal.SIGCONT)


def test_an_engine_that_hangs_delays_nobody(place: Place) -> None:
    place.server.get("models")
    told: list[dict[str, Any]] = []
    took: list[float] = []
    read: list[float] = []
    with hanging(place), ThreadPoolExecutor(len(DONE) * 4) as threads:
        post = place.server.http.post
        waiting = [threads.submit(post, path, json={"model": SMOLLM2}) for path in DONE * 4]
        # Measured is the time while these wait, not the one in which they come.
        time.sleep(1)
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            begun = time.monotonic()
            told.append(place.server.get("status")["engine"])
            took.append(time.monotonic() - begun)
            begun = time.monotonic()
            place.server.get("profiles")
            read.append(time.monotonic() - begun)
            time.sleep(0.05)
        os.kill(attach_pid(place), signal.SIGCONT)
        assert all(each.result().status_code < 600 for each in waiting)
    took.sort()
    usual = took[len(took) * 9 // 10]
    print(f"\nbeside a hanging engine: {usual * 1000:.0f} ms, {took[-1] * 1000:.0f} ms at most")
    # A machine that is busy with others may keep one waiting, the engine none for its 5 seconds.
    assert usual < 0.2 and took[-1] < 1 and max(read) < 1
    assert any("stale" in each or "error" in each for each in told)
    assert "does not answer" in str([each.get("error") for each in told])
    wait_for(lambda: "error" not in (place.server.get("status")["engine"] or {}))


def attach_pid(place: Place) -> int:
    running = attach(place.environment)
    assert running is not None
    return running.process.pid


def test_looking_is_no_activity(place: Place) -> None:
    """An idle server may be ended although a page looks on."""

    def last() -> str:
        answer = place.server.http.get(f"{place.server.url}api/status")
        return str(answer.json()["last_activity"])

    place.server.post(f"jobs/{'0' * 32}/cancel")
    before = last()
    for path in ("status", "models", "catalog", "profiles"):
        place.server.get(path)
    with place.server.events() as events:
        next(events)
    assert last() == before
    place.server.post(f"jobs/{'0' * 32}/cancel")
    assert last() > before


def test_a_server_ends_while_its_engine_hangs(place: Place, tmp_path: Path) -> None:
    with (
        hanging(place),
        server(tmp_path, place.environment) as made,
        ThreadPoolExecutor() as threads,
        made.events() as events,
    ):
        waiting = threads.submit(made.http.post, "fit", json={"model": SMOLLM2})
        wait_for(lambda: (next(events)["status"]["engine"] or {}).get("error"))
        begun = time.monotonic()
        made.process.terminate()
        made.process.wait(PATIENCE)
        took = time.monotonic() - begun
        with pytest.raises(httpx.HTTPError):
            waiting.result()
            list(events)
    assert took < 4
