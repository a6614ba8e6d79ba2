"""Models are fetched, checked and removed by the engine, whoever watches: a real hub, real bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmspell_jupyter.engine.client import EngineClient, Pull
from llmspell_jupyter.errors import (
    EngineBusy,
    EngineDied,
    HashMismatch,
    Interrupted,
    InvalidModelSpec,
    LLMSpellError,
    ModelNotFound,
    NotRemovable,
    RequestError,
    Unreachable,
)
from llmspell_jupyter.types import (
    Completion,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Lookup,
    PullPhase,
    PullProgress,
    PullRequest,
)
from tests.support import hub_server, ollama_server
from tests.support.engines import (
    PATIENCE,
    RunningEngine,
    attach,
    engine,
    gone_within,
    in_this_process,
    jupyter_llmspell,
    python,
    runs,
    runtime_folder,
    wait_for,
)
from tests.support.hub_server import Hub
from tests.support.tiny_gguf import write_tiny_gguf

BIG = "owner/big-GGUF"
BIG_FILE = f"{BIG}/big-Q4_K_M.gguf"
BIG_ID = f"{BIG}:Q4_K_M"
SMALL = "owner/small-GGUF"
SMALL_ID = f"{SMALL}:F32"
GATED = "owner/gated-GGUF"
TOKEN = "hf_not_for_your_eyes_0123456789"

#: The big file takes three seconds at this rate.
SLOW = 6_000_000
MIB = 1024**2


@dataclass
class Room:
    """A hub, an engine that fetches from it, and a client."""

    hub: Hub
    environment: dict[str, str]
    client: EngineClient

    @property
    def engine(self) -> RunningEngine:
        assert self.client.status(start_engine=True)
        found = attach(self.environment)
        assert found is not None
        return found

    @property
    def cache(self) -> Path:
        return Path(self.environment["HF_HOME"], "hub")

    def pull(self, model: str = f"hf.co/{BIG}", **rest: Any) -> Pull:
        return self.client.pull(self.request(model, **rest))

    def request(self, model: str = f"hf.co/{BIG}", **rest: Any) -> PullRequest:
        return PullRequest(model, sources=self.hub.sources(), **rest)

    def jobs(self) -> list[dict[str, Any]]:
        status = self.client.status()
        return status["jobs"] if status else []

    def forget(self, repository: str = BIG) -> None:
        """Remove what was fetched, and count from zero."""
        wait_for(lambda: not self.jobs())
        shutil.rmtree(self.cache / f"models--{repository.replace('/', '--')}", ignore_errors=True)
        self.hub.requests.clear()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    numbers = np.random.default_rng(1).standard_normal(4 * MIB).astype(np.float32)
    big = write_tiny_gguf(
        folder / "big.gguf", change=lambda writer: writer.add_tensor("extra.weight", numbers)
    )
    small = write_tiny_gguf(folder / "small.gguf")
    with hub_server.hub() as made:
        made.add(BIG, {"big-Q4_K_M.gguf": big}, license="apache-2.0")
        made.add(SMALL, {"small-F32.gguf": small}, license="mit")
        made.add(GATED, {"gated-F32.gguf": small}, gated=True)
        made.allow(TOKEN, GATED)
        yield made


@pytest.fixture(scope="module")
def shared_room(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    home = str(tmp_path_factory.mktemp("home"))
    with (
        runtime_folder(HF_HOME=home, **hub.environment) as environment,
        in_this_process(environment),
    ):
        made = Room(hub, environment, EngineClient())
        yield made
        made.client.close()


@pytest.fixture
def room(shared_room: Room) -> Iterator[Room]:
    shared_room.hub.mend()
    shared_room.forget()
    yield shared_room
    for job in shared_room.jobs():
        shared_room.client.cancel_job(job["id"])


def size_of_big(room: Room) -> int:
    return room.hub.repositories[BIG].resolve("main").files["big-Q4_K_M.gguf"].size


def until(steps: Iterator[PullProgress], done: int) -> PullProgress:
    """Iterate until so many bytes are safe."""
    for each in steps:
        assert each.phase in (PullPhase.STARTING, PullPhase.DOWNLOADING), each
        if each.done >= done:
            return each
    raise AssertionError("it ended before")


def last(pull: Pull) -> PullProgress:
    *_, end = pull
    return end


# To the end


def test_what_was_pulled_is_listed_and_answers_at_once(room: Room) -> None:
    room.forget(SMALL)
    assert SMALL_ID not in [each.id for each in room.client.models()]
    with pytest.raises(ModelNotFound):
        room.client.info(SMALL_ID)
    pull = room.pull(f"hf.co/{SMALL}")
    steps = list(pull)
    assert steps[0].phase is PullPhase.STARTING and steps[-1].phase is PullPhase.COMPLETE
    assert {each.job for each in steps} == {pull.job} and pull.job
    assert steps[-1].model == SMALL_ID and steps[-1].percent == 100
    assert steps[-1].metadata["downloaded"] == steps[-1].done == room.hub.bytes_served
    found = {each.id: each for each in room.client.models()}[SMALL_ID]
    assert (found.store, found.repository) == ("hub", SMALL)
    assert str(found.path) == steps[-1].metadata["path"]
    *_, answer = room.client.generate(GenerationRequest(SMALL_ID, prompt="the sea", max_tokens=3))
    assert isinstance(answer, Completion) and answer.metadata["completion_tokens"] >= 1
    info = room.client.info(SMALL_ID)
    assert info["loaded"] and info["header"]["general.architecture"] == "llama"
    # Again: nothing is fetched.
    assert last(room.pull(f"hf.co/{SMALL}")).metadata["downloaded"] == 0


def test_places_of_the_one_who_asks_go_before_the_engines(room: Room, tmp_path: Path) -> None:
    room.forget(SMALL)
    lookup = Lookup(caches=(str(tmp_path / "own"),))
    end = last(room.pull(f"hf.co/{SMALL}", lookup=lookup))
    assert end.metadata["path"].startswith(str(tmp_path / "own"))
    found = {each.id: each for each in room.client.models(lookup)}[SMALL_ID]
    assert found.path.is_relative_to(tmp_path)
    assert room.client.remove(SMALL_ID, lookup) > 0
    assert not list((tmp_path / "own").glob("models--*"))


def test_ten_clients_share_one_download(room: Room) -> None:
    def pull(_: int) -> list[PullProgress]:
        client = EngineClient()
        try:
            return list(client.pull(room.request(bytes_per_second=SLOW * 2)))
        finally:
            client.close()

    with ThreadPoolExecutor(10) as pool:
        told = list(pool.map(pull, range(10)))
    assert len({each.job for steps in told for each in steps}) == 1
    for steps in told:
        assert steps[-1].phase is PullPhase.COMPLETE
        assert [each.done for each in steps] == sorted(each.done for each in steps)
    assert size_of_big(room) <= room.hub.bytes_served <= 1.1 * size_of_big(room)


# Who watches, and who does not


def test_a_viewer_that_stops_watching_changes_nothing(room: Room) -> None:
    pull = room.pull(bytes_per_second=SLOW)
    until(iter(pull), MIB)
    pull.detach()
    assert list(pull) == []
    (job,) = room.jobs()
    assert (job["id"], job["kind"], job["phase"]) == (pull.job, "pull", "downloading")
    assert job["progress"]["done"] >= MIB and job["model"] == BIG_ID
    again = room.client.follow(pull.job)
    assert last(again).phase is PullPhase.COMPLETE and again.job == pull.job
    # A page that was away sees the end.
    (only,) = room.client.follow(pull.job)
    assert only.phase is PullPhase.COMPLETE and only.metadata["downloaded"] == size_of_big(room)


def test_a_client_that_is_closed_ends_no_download(room: Room) -> None:
    client = EngineClient()
    pull = client.pull(room.request(bytes_per_second=SLOW))
    steps = iter(pull)
    until(steps, MIB)
    client.close()
    assert not [each for each in steps if each.phase is PullPhase.COMPLETE]
    assert last(room.client.follow(pull.job)).phase is PullPhase.COMPLETE


VIEWER = """
import sys
from llmspell_jupyter.config import environment
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.types import PullRequest
request = PullRequest(sys.argv[1], bytes_per_second=int(sys.argv[2]), sources=environment.sources())
for step in EngineClient().pull(request):
    print(step.job, step.done, flush=True)
"""


def test_a_viewer_that_is_killed_ends_no_download(room: Room) -> None:
    environment = room.environment | {"JPY_PARENT_PID": str(os.getpid())}
    with python(environment, "-c", VIEWER, f"hf.co/{BIG}", str(SLOW)) as viewer:
        assert viewer.stdout is not None
        job, done = "", "0"
        while int(done) < MIB:
            job, done = viewer.stdout.readline().split()
        viewer.send_signal(signal.SIGKILL)
        viewer.communicate(timeout=PATIENCE)
    assert last(room.client.follow(job)).phase is PullPhase.COMPLETE
    assert room.hub.bytes_served <= 1.1 * size_of_big(room)


def test_in_the_background(room: Room) -> None:
    job = room.client.pull_in_background(room.request(bytes_per_second=SLOW))
    assert room.client.pull_in_background(room.request()) == job
    assert [each["id"] for each in room.jobs()] == [job]
    assert last(room.client.follow(job)).phase is PullPhase.COMPLETE


# Cancelled


def partials(room: Room, repository: str = BIG) -> list[str]:
    folder = room.cache / f"models--{repository.replace('/', '--')}"
    return sorted(each.name for each in folder.rglob("*") if each.is_file())


def test_cancelling_with_discard_leaves_nothing(room: Room) -> None:
    pull = room.pull(bytes_per_second=SLOW)
    until(iter(pull), 2 * MIB)
    assert partials(room)
    assert room.client.cancel_job(pull.job, discard=True)
    assert partials(room) == []
    with pytest.raises(Interrupted) as caught:
        list(pull)
    assert "thrown away" in caught.value.hint
    assert last(room.pull()).metadata["downloaded"] == size_of_big(room)


def test_a_paused_pull_is_discarded_later(room: Room) -> None:
    pull = room.pull(bytes_per_second=SLOW)
    until(iter(pull), 2 * MIB)
    assert room.client.cancel_job(pull.job)
    wait_for(lambda: not room.jobs())
    assert partials(room)
    assert not room.client.cancel_job(pull.job, discard=True)
    assert partials(room) == []


def test_what_is_whole_is_not_discarded(room: Room) -> None:
    pull = room.pull()
    path = Path(last(pull).metadata["path"])
    assert not room.client.cancel_job(pull.job, discard=True)
    assert path.is_file()


def test_discard_spares_a_file_that_another_pull_waits_for(room: Room) -> None:
    pull = room.pull(bytes_per_second=SLOW)
    until(iter(pull), 4 * MIB)
    # Not the same pull, yet of the same file.
    other = room.pull(revision="main")
    until_note(other, "Another process fetches it")
    assert room.client.cancel_job(pull.job, discard=True)
    assert last(other).metadata["downloaded"] < size_of_big(room) - 3 * MIB


def test_of_a_check_there_is_nothing_to_discard(room: Room) -> None:
    path = Path(last(room.pull()).metadata["path"])
    check = room.client.verify(BIG_ID)
    last(check)
    assert not room.client.cancel_job(check.job, discard=True)
    assert path.is_file()
    with pytest.raises(RequestError, match="no such download"):
        room.client.cancel_job("0" * 32, discard=True)


def until_note(pull: Pull, note: str) -> None:
    for progress in pull:
        if note in progress.note:
            return
    raise AssertionError(f"nobody said: {note}")


def test_anybody_may_cancel_and_the_next_pull_goes_on(room: Room) -> None:
    first = room.pull(bytes_per_second=SLOW)
    until(iter(first), 1)
    second = room.pull()
    until(iter(first), 8 * MIB)
    until(iter(second), MIB)
    assert EngineClient().cancel_job(first.job)
    for pull in (first, second):
        told: list[PullProgress] = []
        with pytest.raises(Interrupted) as caught:
            told.extend(pull)
        assert "type the same line again" in caught.value.hint
        assert told[-1].phase is PullPhase.CANCELLED
    # Not even now, and not by anybody.
    assert not room.client.cancel_job(first.job)
    with pytest.raises(Interrupted):
        list(room.client.follow(first.job))
    end = last(room.pull())
    assert end.metadata["downloaded"] < size_of_big(room) - 7 * MIB
    assert room.hub.bytes_served <= 1.1 * size_of_big(room) + 6 * MIB


def test_cancel_by_the_one_who_watches(room: Room) -> None:
    pull = room.pull(bytes_per_second=SLOW)
    steps = iter(pull)
    until(steps, 1)
    began = time.monotonic()
    pull.cancel()
    pull.cancel()
    with pytest.raises(Interrupted):
        list(steps)
    assert time.monotonic() - began < 3
    wait_for(lambda: not room.jobs())


def test_cancel_before_anything_began(room: Room) -> None:
    for _ in range(10):
        pull = room.pull(bytes_per_second=SLOW)
        pull.cancel()
        with pytest.raises(Interrupted):
            list(pull)
    wait_for(lambda: not room.jobs())


def test_one_that_stopped_watching_can_still_cancel(room: Room) -> None:
    pull = room.pull(bytes_per_second=SLOW)
    until(iter(pull), 1)
    pull.detach()
    pull.cancel()
    wait_for(lambda: not room.jobs())
    with pytest.raises(Interrupted):
        list(room.client.follow(pull.job))


# The engine ends


def test_a_killed_engine_and_the_same_line_again(room: Room) -> None:
    room.engine.http.close()
    pull = room.pull(bytes_per_second=SLOW)
    steps = iter(pull)
    until(steps, 8 * MIB)
    room.engine.process.kill()
    with pytest.raises(EngineDied) as caught:
        list(steps)
    assert "type the same line again" in caught.value.hint
    with pytest.raises(RequestError):
        list(room.client.follow(pull.job))
    end = last(room.pull())
    assert end.phase is PullPhase.COMPLETE
    assert end.metadata["downloaded"] < size_of_big(room) - 7 * MIB
    path = Path(end.metadata["path"])
    content = room.hub.repositories[BIG].resolve("main").files["big-Q4_K_M.gguf"]
    assert path.read_bytes() == content.read()
    assert list(room.client.verify(BIG_ID))[-1].metadata["checked"] == "sha256"


def test_a_stopped_engine_tells_its_viewers_and_is_gone_soon(room: Room) -> None:
    pull = room.pull(bytes_per_second=SLOW)
    steps = iter(pull)
    until(steps, MIB)
    process = room.engine.process
    assert room.client.shutdown()
    with pytest.raises(Interrupted, match="engine was stopped"):
        list(steps)
    assert gone_within([process], 5)
    assert last(room.pull()).metadata["downloaded"] < size_of_big(room)


def test_a_download_is_not_idleness(hub: Hub, tmp_path: Path) -> None:
    variables = hub.environment | {"HF_HOME": str(tmp_path), "LLMSPELL_ENGINE_IDLE_SECONDS": "0.5"}
    with engine(**variables) as running:
        body = {"model": f"hf.co/{BIG}", "bytes_per_second": SLOW, "background": True}
        began = time.monotonic()
        assert running.http.post("/api/pull", json=body).json()["job"]
        assert gone_within([running.process], PATIENCE)
        # Three seconds of work, and half a one without.
        assert time.monotonic() - began > 3
    assert [*tmp_path.rglob("snapshots/*/big-Q4_K_M.gguf")]


def test_a_download_ends_with_the_last_owner(hub: Hub, tmp_path: Path) -> None:
    with python(dict(os.environ), "-c", "input()", stdin=-1) as owner:
        variables = hub.environment | {"HF_HOME": str(tmp_path)}
        with engine(owner=owner.pid, **variables) as running:
            running.http.headers["X-LLMSpell-Owner"] = str(owner.pid)
            body = {"model": f"hf.co/{BIG}", "bytes_per_second": 500_000, "background": True}
            running.http.post("/api/pull", json=body)
            running.wait_for_job("downloading")
            assert runs(running.process)
            owner.kill()
            assert gone_within([running.process], 10)


# Secrets


def test_a_token_is_told_to_nobody(hub: Hub, tmp_path: Path) -> None:
    variables = {**hub.environment, "HF_HOME": str(tmp_path), "JPY_PARENT_PID": str(os.getpid())}
    with runtime_folder(**variables) as environment, in_this_process(environment):
        client = EngineClient()
        seen: list[Any] = []
        hub.fault(f"{GATED}/gated-F32.gguf", "stall", at=100_000, seconds=1)
        request = PullRequest(f"hf.co/{GATED}", sources=hub.sources(TOKEN))
        assert TOKEN not in repr(request)
        for step in client.pull(request):
            seen += [step, client.status()]
        assert seen[-2].phase is PullPhase.COMPLETE
        wrong = hub.sources("hf_wrong_token_0123456789")
        for sources in (hub.sources(), wrong):
            with pytest.raises(LLMSpellError) as caught:
                list(client.pull(PullRequest(f"hf.co/{GATED}", force=True, sources=sources)))
            seen.append(caught.value.to_wire())
        seen.append(jupyter_llmspell(environment, "engine", "logs").stdout)
        running = attach(environment)
        assert running is not None
        seen += [running.http.get("/metrics").text, running.process.cmdline()]
        client.close()
        running.http.close()
    assert TOKEN not in str(seen) and "hf_wrong" not in str(seen)


def test_offline_is_an_error_at_once(room: Room) -> None:
    room.forget(SMALL)
    request = PullRequest(f"hf.co/{SMALL}", sources=room.hub.sources(offline=True))
    began = time.monotonic()
    with pytest.raises(Unreachable):
        list(room.client.pull(request))
    assert time.monotonic() - began < 2 and not room.hub.requests


# Checked, removed


def test_a_flipped_bit_is_found_wherever_it_is(room: Room) -> None:
    path = Path(last(room.pull(f"hf.co/{SMALL}")).metadata["path"])
    end = last(room.client.verify(SMALL_ID))
    assert end.phase is PullPhase.COMPLETE and end.job
    blob = path.resolve()
    whole = blob.read_bytes()
    # In the weights, and where the file could not even be loaded any more.
    for place in (len(whole) - 5, 0, 9):
        blob.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(HashMismatch) as caught:
            list(room.client.verify(SMALL_ID))
        assert caught.value.data["files"][0]["path"] == "small-F32.gguf"
    room.forget(SMALL)


def test_a_damaged_model_can_be_removed(room: Room) -> None:
    path = Path(last(room.pull(f"hf.co/{SMALL}")).metadata["path"])
    path.resolve().write_bytes(b"GGUF")
    assert room.client.info(SMALL_ID)["header"] == {}
    assert room.client.remove(SMALL_ID) == 4
    assert SMALL_ID not in [each.id for each in room.client.models()]


def test_what_is_used_is_not_removed(room: Room) -> None:
    last(room.pull(f"hf.co/{SMALL}"))
    list(room.client.load(LoadRequest(SMALL_ID)))
    with pytest.raises(EngineBusy) as caught:
        room.client.remove(SMALL_ID)
    assert f"%model_unload {SMALL_ID}" in caught.value.hint
    assert room.client.unload(SMALL_ID) == 1
    assert room.client.remove(SMALL_ID) > 100_000
    with pytest.raises(ModelNotFound):
        room.client.remove(SMALL_ID)
    with pytest.raises(NotRemovable):
        room.client.remove("smollm2:135m")


def test_what_is_fetched_is_not_removed(room: Room) -> None:
    last(room.pull())
    pull = room.pull(force=True, bytes_per_second=SLOW)
    until(iter(pull), MIB)
    with pytest.raises(EngineBusy) as caught:
        room.client.remove(BIG_ID)
    assert caught.value.data["job"] == pull.job
    pull.cancel()


def test_garbage_of_an_interrupted_download(room: Room) -> None:
    pull = room.pull(bytes_per_second=SLOW)
    until(iter(pull), MIB)
    pull.cancel()
    wait_for(lambda: not room.jobs())
    # It is young: whoever began it may go on.
    assert room.client.gc() == [] == room.client.gc(dry_run=False)


# What a body may say


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("pull", {}, "model"),
        ("pull", {"model": 1}, "model"),
        ("pull", {"model": "m", "quantisation": "Q4_0"}, "quantisation"),
        ("pull", {"model": "m", "bytes_per_second": -1}, "bytes_per_second"),
        ("pull", {"model": "m", "locked": [["a", "b"]]}, "locked.0.1"),
        ("pull", {"model": "m", "llmspell": {"lookup": {"caches": ["x"]}}}, "caches"),
        ("pull", {"model": "m", "llmspell": {"lookup": {"ollama_store": "x"}}}, "ollama_store"),
        ("pull", {"model": "m", "llmspell": {"sources": {"token": "a\nb: c"}}}, "token"),
        ("pull", {"model": "m", "llmspell": {"sources": {"endpoint": "file:///"}}}, "endpoint"),
        ("pull", {"model": "m", "llmspell": {"options": {}}}, "llmspell.options"),
        ("verify", {"model": "m", "force": True}, "force"),
        ("available", {"backend": 1}, "backend"),
        ("remove", {"model": ""}, "model"),
        ("gc", {"dry_run": "no"}, "dry_run"),
        ("info", {}, "model"),
    ],
    ids=str,
)
def test_wrong_fields_are_named(room: Room, path: str, body: Any, field: str) -> None:
    running = room.engine
    answer = running.http.post(f"/api/{path}", json=body)
    error = answer.json()["error"]
    running.http.close()
    assert answer.status_code == 400 and field in error["param"], error
    assert "a\nb" not in answer.text


def test_names_that_nothing_is_fetched_by(room: Room) -> None:
    for name, kind in (
        ("a b", InvalidModelSpec),
        ("/etc", InvalidModelSpec),
        ("hf.co/owner/none", ModelNotFound),
        ("hf.co/../..", InvalidModelSpec),
        ("\ud800", RequestError),
    ):
        with pytest.raises(kind):
            list(room.pull(name))
    assert not room.jobs()


def test_jobs_that_are_not_there(room: Room) -> None:
    with pytest.raises(RequestError, match="no such download"):
        list(room.client.follow("nobody knows it"))
    assert not room.client.cancel_job("nobody knows it")


def test_ends_are_counted(room: Room) -> None:
    running = room.engine
    before = _numbers(running)
    room.forget(SMALL)
    last(room.pull(f"hf.co/{SMALL}"))
    with pytest.raises(ModelNotFound):
        list(room.pull("hf.co/owner/none"))
    after = _numbers(running)
    running.http.close()
    ok, failed = '{kind="pull",outcome="ok"}', '{kind="pull",outcome="ModelNotFound"}'
    assert after[f"llmspell_pulls_total{ok}"] == before.get(f"llmspell_pulls_total{ok}", 0) + 1
    assert after[f"llmspell_pulls_total{failed}"] >= 1
    size = after["llmspell_downloaded_bytes_total"] - before["llmspell_downloaded_bytes_total"]
    assert size == room.hub.bytes_served


def _numbers(running: RunningEngine) -> dict[str, float]:
    lines = running.http.get("/metrics").text.splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


def test_the_stream_as_any_program_reads_it(room: Room) -> None:
    running = room.engine
    with running.http.stream("POST", "/api/pull", json={"model": f"hf.co/{BIG}"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        values = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    running.http.close()
    assert values.pop() == "[DONE]"
    end = json.loads(values[-1])
    assert (end["phase"], end["percent"], end["model"]) == ("complete", 100, BIG_ID)


def test_libraries_for_servers_are_imported_at_first_use() -> None:
    code = """
import sys
import llmspell_jupyter.engine.client, llmspell_jupyter.engine.serve
print(*({"huggingface_hub", "ollama", "urllib3", "requests"} & sys.modules.keys()))
"""
    with python(dict(os.environ), "-c", code) as program:
        output, errors = program.communicate(timeout=PATIENCE)
    assert (output.strip(), errors) == ("", "")


def test_the_engine_answers_while_it_fetches(room: Room) -> None:
    pull = room.pull()
    stop = threading.Event()
    slowest = [0.0]

    def ask() -> None:
        while not stop.is_set():
            began = time.monotonic()
            assert room.client.status()
            slowest[0] = max(slowest[0], time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert last(pull).phase is PullPhase.COMPLETE
    finally:
        stop.set()
        asking.join(PATIENCE)
    assert slowest[0] < 2


# Other sources


def test_models_of_an_ollama_server(room: Room) -> None:
    with ollama_server.ollama() as ollama:
        ollama.add("llama3.1:8b", size=1000)
        ollama.offer("qwen3:0.6b", layers=(500_000, 300))
        sources = room.hub.sources(ollama_url=ollama.url)
        pull = room.client.pull(PullRequest("qwen3:0.6b@ollama", sources=sources))
        assert last(pull).phase is PullPhase.COMPLETE and pull.job
        state = room.client.ollama(sources)
        assert state["running"] and state["error"] is None and state["version"]
        assert {each["id"] for each in state["models"]} == {"llama3.1:8b", "qwen3:0.6b"}
        info = room.client.info("qwen3:0.6b@ollama", None, sources)
        assert (info["backend"], info["loaded"]) == ("ollama", False)
        found = room.client.available("ollama", "", sources)
        assert {"llama3.1:8b@ollama", "qwen3:0.6b@ollama"} <= {each.id for each in found.models}
        assert room.client.remove("llama3.1:8b@ollama", None, sources) == 1000
        for ask in (room.client.info, room.client.remove):
            with pytest.raises(ModelNotFound):
                ask("llama3.1:8b@ollama", None, sources)
    state = room.client.ollama(sources)
    assert not state["running"] and state["error"]


def test_two_quantizations_of_ollama_are_two_pulls(room: Room) -> None:
    with ollama_server.ollama() as ollama:
        names = [f"hf.co/acme/tiny-GGUF:{kind}" for kind in ("Q4_K_M", "Q8_0")]
        for name in names:
            ollama.offer(name)
        sources = room.hub.sources(ollama_url=ollama.url)

        def begin(**asked: Any) -> str:
            request = PullRequest("hf.co/acme/tiny-GGUF@ollama", sources=sources, **asked)
            return room.client.pull_in_background(request)

        fault = ollama.fault("/api/pull", "stall", lines=1, times=1)
        first = begin(quantization="Q4_K_M")
        wait_for(lambda: fault.times == 0)
        second = begin(quantization="Q8_0")
        assert first != second
        assert begin(quantization="Q4_K_M") == first
        assert last(room.client.follow(second)).model == names[1]
        assert [each["id"] for each in room.jobs()] == [first]
        room.client.cancel_job(first)
        wait_for(lambda: not room.jobs())
        with pytest.raises(InvalidModelSpec, match="in the tag"):
            room.client.pull_in_background(
                PullRequest("qwen3@ollama", quantization="Q8_0", sources=sources)
            )


def test_what_can_be_had(room: Room) -> None:
    found = room.client.available("candle", "small", room.hub.sources())
    assert SMALL in {each.repository for each in found.models if each.origin == "hub"}
    assert all(each.backend == "candle" for each in found.models)


def test_a_fit_before_and_after_the_pull(room: Room) -> None:
    room.forget(SMALL)
    before = room.client.fit(f"hf.co/{SMALL}", None, None, room.hub.sources())
    assert (before.source, before.light) == ("remote header", "green") and before.disk_need > 0
    last(room.pull(f"hf.co/{SMALL}"))
    after = room.client.fit(SMALL_ID, options=LoadOptions(context_size=128))
    assert (after.source, after.context, after.disk_need) == ("files", 128, 0)
    assert after.need <= before.need
