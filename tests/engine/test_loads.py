"""Loads that are given up: who wants the model keeps it, and nobody else's process stays."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from llmspell_jupyter.engine.client import EngineClient, Generation, Part
from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.errors import EngineBusy, Interrupted, ModelNotFound, WorkerDied
from llmspell_jupyter.models import store
from llmspell_jupyter.types import (
    Completion,
    EmbeddingRequest,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Phase,
    Progress,
    Ready,
    TokenizeRequest,
)
from tests.support.engines import (
    ECHO,
    RunningEngine,
    attach,
    gone_within,
    in_this_process,
    runtime_folder,
    wait_for,
)

SOON = 2.0
SLOW = "echo:slow"


@contextmanager
def stoppable(
    client: EngineClient, begin: Callable[[Callable[[], object]], object]
) -> Iterator[None]:
    """Each wait of the client begins with ``begin``, which is given what ends that wait."""

    @contextmanager
    def surround(end: Callable[[], object]) -> Iterator[None]:
        begin(end)
        yield

    before, client.stoppable = client.stoppable, surround
    try:
        yield
    finally:
        client.stoppable = before


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """A process that hangs."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with runtime_folder() as variables, in_this_process(variables):
        yield variables


@pytest.fixture(scope="module")
def client(environment: dict[str, str]) -> Iterator[EngineClient]:
    made = EngineClient()
    yield made
    made.close()


@pytest.fixture
def running(environment: dict[str, str], client: EngineClient) -> Iterator[RunningEngine]:
    assert client.status(start_engine=True)
    found = attach(environment)
    assert found is not None
    yield found
    client.unload(SLOW, force=True)
    found.http.close()


def load(client: EngineClient) -> tuple[Generation, Iterator[Part]]:
    """A load that has begun."""
    work = client.load(LoadRequest(SLOW))
    parts = iter(work)
    first = next(parts)
    assert isinstance(first, Progress) and first.phase in (Phase.LOADING, Phase.QUEUED)
    return work, parts


def loading(parts: Iterator[Part]) -> Progress:
    """The first progress in which the worker tells something."""
    for part in parts:
        if isinstance(part, Progress) and part.phase is Phase.LOADING and part.done > 0:
            return part
    raise AssertionError("it did not load")


def test_a_load_ends_ready(client: EngineClient, running: RunningEngine) -> None:
    *parts, last = client.load(LoadRequest(SLOW))
    percents = [part.percent for part in parts if isinstance(part, Progress)]
    assert isinstance(last, Ready) and percents[0] == 0 and percents[-1] == 100
    assert last.metadata["device"] == "cpu" and last.metadata["load_ms"] > 2000
    *_, again = client.load(LoadRequest(SLOW))
    assert isinstance(again, Ready) and again.metadata["load_ms"] == 0


def test_a_cancelled_load_ends_its_process(client: EngineClient, running: RunningEngine) -> None:
    work, parts = load(client)
    loading(parts)
    worker = running.worker(SLOW)
    assert worker is not None
    work.cancel()
    assert gone_within([worker], SOON)
    wait_for(lambda: not running.jobs(), SOON)
    assert not [each for each in running.status()["workers"] if each["model"] == SLOW]
    *_, last = client.load(LoadRequest(SLOW))
    assert isinstance(last, Ready)


def test_who_waits_for_the_same_model_keeps_it(
    client: EngineClient, running: RunningEngine
) -> None:
    work, parts = load(client)
    loading(parts)
    worker = running.worker(SLOW)
    answers: list[Part] = []
    request = GenerationRequest(SLOW, prompt="hello")
    other = threading.Thread(target=lambda: answers.extend(client.generate(request)))
    other.start()
    wait_for(lambda: len(running.jobs()) == 2)
    work.cancel()
    other.join(30)
    assert isinstance(answers[-1], Completion) and answers[-1].text == "hello"
    assert running.worker(SLOW) == worker


def test_a_load_that_is_cancelled_before_its_process_runs(
    client: EngineClient, running: RunningEngine
) -> None:
    before = set(running.process.children())
    for _ in range(5):
        work, _ = load(client)
        work.cancel()
    wait_for(lambda: not running.jobs(), SOON)
    wait_for(lambda: set(running.process.children()) <= before, SOON)
    *_, last = client.load(LoadRequest(SLOW))
    assert isinstance(last, Ready)


def test_a_load_is_given_up_while_its_process_starts() -> None:
    async def run() -> None:
        slow = replace(store.ECHO, id=SLOW)
        worker = WorkerProcess(slow, "echo", LoadOptions())
        worker.start()
        worker.abandon()
        assert worker.pid is None
        with pytest.raises(WorkerDied):
            async for _ in worker.loading():
                pass
        await worker.stop()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_unloading_while_it_loads(client: EngineClient, running: RunningEngine) -> None:
    _, parts = load(client)
    loading(parts)
    worker = running.worker(SLOW)
    assert worker is not None
    with pytest.raises(EngineBusy, match=r"1 request\."):
        client.unload(SLOW)
    client.unload(SLOW, force=True)
    with pytest.raises(Interrupted, match="was unloaded"):
        list(parts)
    assert gone_within([worker], SOON)


def test_memory_comes_back(client: EngineClient, running: RunningEngine) -> None:
    list(client.load(LoadRequest(ECHO)))
    worker = running.worker(ECHO)
    assert worker is not None
    assert client.unload(ECHO) == 1
    assert not worker.is_running()
    assert client.unload(ECHO) == 0
    with pytest.raises(ModelNotFound):
        client.unload("no-such-model")


def test_vectors_and_tokens(client: EngineClient, running: RunningEngine) -> None:
    vectors = client.embed(EmbeddingRequest(ECHO, ("a", "b", "a")))
    first, second, third = vectors.vectors
    assert first == third != second and vectors.metadata["prompt_tokens"] == 3
    tokens = client.tokenize(TokenizeRequest(ECHO, prompt="a b c"))
    assert tokens.ids == (0, 1, 2) and tokens.metadata["context_size"] == 4096


def test_waiting_for_vectors_can_be_stopped(client: EngineClient, running: RunningEngine) -> None:
    caught: list[BaseException] = []
    ends: list[Callable[[], object]] = []

    def ask() -> None:
        try:
            client.embed(EmbeddingRequest(SLOW, ("a",)))
        except Interrupted as error:
            caught.append(error)

    with stoppable(client, ends.append):
        asking = threading.Thread(target=ask)
        asking.start()
        running.wait_for_job("loading")
        for end in ends:
            end()
        asking.join(SOON)
    assert caught
    wait_for(lambda: not running.jobs(), SOON)


def test_a_wait_that_is_over_before_it_begins(client: EngineClient, running: RunningEngine) -> None:
    """Whoever was stopped on the way to a question waits for no answer, however slow it is."""
    with stoppable(client, lambda end: end()), stopped(running.process):
        for ask in (client.status, client.models, lambda: client.unload(ECHO)):
            started = time.monotonic()
            with pytest.raises(Interrupted):
                ask()
            assert time.monotonic() - started < SOON
    with stoppable(client, lambda end: end()), pytest.raises(Interrupted):
        client.embed(EmbeddingRequest(SLOW, ("a",)))
    wait_for(lambda: not running.jobs(), SOON)


def test_a_job_is_cancelled_by_its_id(client: EngineClient, running: RunningEngine) -> None:
    _, parts = load(client)
    assert client.cancel_job(running.wait_for_job("loading")["id"])
    with pytest.raises(Interrupted, match="was cancelled"):
        list(parts)
    assert not client.cancel_job("0" * 32)


def test_every_load_option_arrives_at_the_worker(client: EngineClient) -> None:
    options = LoadOptions(
        context_size=99,
        batch_size=9,
        cpu_threads=2,
        max_concurrent=3,
        device="cpu",
        dtype="bfloat16",
        gpu_layers=4,
        flash_attention=False,
        cache_type="q8_0",
    )
    usual = LoadOptions()
    names = LoadOptions.__dataclass_fields__
    assert all(getattr(options, name) != getattr(usual, name) for name in names)
    *_, last = client.load(LoadRequest(ECHO, options))
    assert isinstance(last, Ready)
    assert last.metadata["load_options"] == {name: getattr(options, name) for name in names}
