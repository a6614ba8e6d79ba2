"""Whether a model fits is judged by a real engine: for what is here, in a catalog, or on a hub."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import (
    InvalidModelSpec,
    ModelNotFound,
    NotEnoughMemory,
    Unreachable,
    UnsupportedModel,
)
from llmspell_jupyter.types import (
    Completion,
    Fit,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Lookup,
    Sampling,
    Sources,
)
from tests.support import hub_server
from tests.support.engines import (
    SMOLLM2,
    attach,
    in_this_process,
    runtime_folder,
    wait_for,
)
from tests.support.shaped_gguf import Shaped, write_shaped_gguf
from tests.support.tiny_gguf import write_tiny_gguf

MB = 10**6
MIB = 1024**2
OFFLINE = Sources(offline=True)
CPU = LoadOptions(device="cpu")

#: No judgement takes longer, whatever the machine does: the longest wait for a measurement, and
#: room to spare.
LONGEST = 15.0

#: A machine that is busy is measured in the end.
MEASURED = 90.0


@contextmanager
def client(**variables: str) -> Iterator[EngineClient]:
    """A client of an engine of its own, of which nothing is known yet."""
    with (
        runtime_folder(JPY_PARENT_PID=str(os.getpid()), **variables) as environment,
        in_this_process(environment),
    ):
        made = EngineClient()
        yield made
        made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for number, name in enumerate("ab"):
        write_tiny_gguf(folder / f"{name}.gguf", seed=number)
    return folder


@pytest.fixture(scope="module")
def usual() -> Iterator[EngineClient]:
    """One that no test teaches anything of the speed of real models."""
    with client() as made:
        yield made


def judged(client: EngineClient, name: str, **rest: Any) -> Fit:
    began = time.monotonic()
    found = client.fit(name, **{"options": CPU, "sources": OFFLINE} | rest)
    assert time.monotonic() - began < LONGEST
    return found


def measured(client: EngineClient, name: str, **rest: Any) -> Fit:
    """With a speed, which the machine may have no time for at first."""

    def ask() -> Fit | None:
        found = judged(client, name, **rest)
        assert found.speed or found.speed_note.startswith("Not measured: ")
        return found if found.speed else None

    return wait_for(ask, MEASURED)


# What is judged


def test_a_model_of_this_machine(usual: EngineClient) -> None:
    found = measured(usual, SMOLLM2)
    assert (found.model, found.source, found.device) == (SMOLLM2, "files", "cpu")
    assert (found.disk_need, found.disk_free) == (0, None)
    assert found.context == CPU.context_size and found.free_where.startswith(("on", "in"))
    assert found.need > found.size_bytes
    assert found.speed is not None and not found.speed.measured
    assert found.speed.low < found.speed.expected < found.speed.high
    assert found.speed.prompt and found.speed.full
    assert found.speed_note.startswith("From a short measurement of this machine")
    # What was measured holds; nothing is measured again.
    assert judged(usual, SMOLLM2).speed == found.speed


def test_a_model_of_the_catalog_needs_no_network(usual: EngineClient, tmp_path: Path) -> None:
    lookup = Lookup(caches=(str(tmp_path),))
    found = judged(usual, "qwen2-0.5b", lookup=lookup)
    assert (found.source, found.quantization) == ("catalog", "Q4_K_M")
    assert found.disk_need == found.size_bytes > 300 * MB
    assert found.disk_free is not None and found.disk_free > 0
    larger = judged(usual, "Qwen2-0.5B:q8_0", lookup=lookup)
    assert larger.model == "qwen2-0.5b:Q8_0"
    assert larger.need > found.need and larger.size_bytes > found.size_bytes
    long = judged(usual, "qwen2-0.5b", lookup=lookup, options=LoadOptions(context_size=32_768))
    assert long.context == 32_768 and long.need > found.need


def test_what_torch_runs_is_not_measured_before_it_runs(usual: EngineClient) -> None:
    found = judged(usual, "flan-t5-small")
    assert (found.source, found.speed) == ("catalog", None)
    assert found.speed_note == ("Not measured: only GGUF models are measured before they run.")
    assert found.need > 0 and found.light == "green"


def test_a_model_on_a_hub_costs_its_header(usual: EngineClient, tmp_path: Path) -> None:
    shape = Shaped("llama", 8, 1024, 2816, 16, 4, 32_000, 131_072)
    path = write_shaped_gguf(tmp_path / "llama-Q4_K_M.gguf", shape)
    with hub_server.hub() as hub:
        hub.add("acme/llama", {path.name: path})
        found = judged(usual, "hf.co/acme/llama", sources=hub.sources())
        assert hub.bytes_served < 2 * MIB < path.stat().st_size
        assert (found.source, found.quantization) == ("remote header", "Q4_K_M")
        assert found.disk_need == path.stat().st_size
        assert found.contexts[-1].context == 131_072
        # As it is once it is here.
        here = judged(usual, str(path))
        assert (here.need, here.contexts) == (found.need, found.contexts)
        with pytest.raises(ModelNotFound):
            judged(usual, "hf.co/acme/nothing", sources=hub.sources())
    with pytest.raises(Unreachable):
        judged(usual, "hf.co/acme/else")


def test_a_hub_that_says_nothing_is_given_up(usual: EngineClient) -> None:
    with hub_server.hub() as hub:
        hub.add("acme/mute", {"mute-Q4_0.gguf": b"GGUF" + bytes(MIB)})
        with pytest.raises(Unreachable):
            judged(usual, "hf.co/acme/mute", sources=hub.sources(endpoint="http://127.0.0.1:9"))


def test_an_unknown_name_is_an_error_with_the_nearest(usual: EngineClient) -> None:
    with pytest.raises(ModelNotFound, match="smollm2:135n") as caught:
        judged(usual, "smollm2:135n")
    assert SMOLLM2 in caught.value.hint
    with pytest.raises(UnsupportedModel, match="Ollama"):
        judged(usual, "llama3.1:8b@ollama")
    with pytest.raises(ModelNotFound, match="/nowhere"):
        judged(usual, "/nowhere/model.gguf")
    with pytest.raises(InvalidModelSpec):
        judged(usual, "no such name")


def test_a_body_is_checked(usual: EngineClient) -> None:
    assert usual.status(start_engine=True)
    running = attach(dict(os.environ))
    assert running is not None
    for body, field in (
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": SMOLLM2, "context": 1}, "context"),
        ({"model": SMOLLM2, "llmspell": {"options": {"context_size": "x"}}}, "context_size"),
        ({"model": SMOLLM2, "llmspell": {"options": {"context": 1}}}, "options.context"),
    ):
        answer = running.http.post("/api/fit", json=body)
        assert answer.status_code == 400 and field in answer.json()["error"]["param"]
    answer = running.http.post("/api/fit", json={"model": SMOLLM2})
    running.http.close()
    assert answer.status_code == 200 and answer.json()["light"] in ("green", "amber")


# Memory and disk


def test_red_below_a_tiny_limit() -> None:
    with client(LLMSPELL_ENGINE_MEMORY_LIMIT_BYTES=str(50 * MB)) as tight:
        found = judged(tight, SMOLLM2)
        assert (found.light, found.largest_context) == ("red", None)
        assert found.reasons[0].endswith("; 50 MB are free below memory_limit_bytes.")
        # What is foretold comes true.
        with pytest.raises(NotEnoughMemory):
            list(tight.load(LoadRequest(SMOLLM2, CPU)))


def test_amber_until_an_idle_model_leaves(folder: Path) -> None:
    small = LoadOptions(context_size=64, cpu_threads=1, device="cpu")
    a, b = str(folder / "a.gguf"), str(folder / "b.gguf")
    with client(LLMSPELL_ENGINE_MEMORY_LIMIT_BYTES=str(100 * MB)) as tight:
        before = judged(tight, b, options=small)
        assert (before.light, before.free, before.idle) == ("green", 100 * MB, 0)
        list(tight.load(LoadRequest(a, small)))
        found = judged(tight, b, options=small)
        assert found.light == "amber" and found.free < found.need <= found.free + found.idle
        assert found.free + found.idle == 100 * MB
        assert "It fits once idle models leave, which the engine sees to." in found.reasons
        # One that is loaded counts what it has, and no more than may be had.
        own = judged(tight, a, options=small)
        assert (own.light, own.free, own.idle) == ("green", 100 * MB, 0)
        # What is foretold comes true.
        list(tight.load(LoadRequest(b, small)))
        assert [each["model"] for each in (tight.status() or {})["workers"]] == [b]


def test_a_model_that_is_loaded_has_its_own_memory() -> None:
    with client() as made:
        before = judged(made, SMOLLM2)
        list(made.load(LoadRequest(SMOLLM2, CPU)))
        after = judged(made, SMOLLM2)
        assert after.light == before.light and after.idle == 0
        other = judged(made, "qwen2.5-0.5b")
        assert other.idle > 100 * MB


CATALOG = """
[[model]]
name = "vast"
title = "Vast"
repository = "acme/vast"
file = "vast-{}.gguf"
files = { Q4_K_M = 50_000_000_000_000 }
parameters = 90_000_000_000_000
license = "mit"
context = 4096
architecture = "llama"
shape = { layers = 8, width = 1024, heads = 16, key_heads = 4, head = 64, inner = 2816, vocabulary = 32000 }
"""


def test_red_where_the_disk_is_too_small(usual: EngineClient, tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(CATALOG)
    lookup = Lookup(caches=(str(tmp_path / "cache"),), catalogs=(str(path),))
    found = judged(usual, "vast", lookup=lookup)
    assert found.light == "red"
    assert found.disk_free is not None and found.disk_need == 5 * 10**13 > found.disk_free
    assert found.reasons[0].startswith("50,000.0 GB are to be fetched, and the disk has ")
    assert not (tmp_path / "cache").exists()


# Speed


def test_nothing_is_measured_while_models_work() -> None:
    with client() as made:
        made.status(start_engine=True)
        running = attach(dict(os.environ))
        assert running is not None
        with running.answering():
            found = judged(made, "qwen2.5-0.5b")
            assert found.speed is None
            assert found.speed_note == ("Not measured: models work now, and would disturb it.")
        running.http.close()


def test_answers_correct_what_was_foretold() -> None:
    def answer(made: EngineClient) -> float:
        request = GenerationRequest(
            SMOLLM2, prompt="a b a b", max_tokens=32, options=CPU, sampling=Sampling(temperature=0)
        )
        *_, end = made.generate(request)
        assert isinstance(end, Completion) and end.metadata["completion_tokens"] >= 20
        return float(end.metadata["tokens_per_second"])

    with client() as made:
        reached = [answer(made)]
        found = wait_for(lambda: known(made, 1))
        # One answer, and hardly anything that is not known about it.
        assert found.speed is not None and found.speed.measured
        assert found.speed.high / found.speed.low < 1.2
        assert found.speed_note == "From an answer of this model on this machine."
        reached += [answer(made) for _ in range(3)]
        found = wait_for(lambda: known(made, 4))
        assert found.speed is not None
        assert 0.8 * min(reached) <= found.speed.expected <= 1.2 * max(reached)


def known(client: EngineClient, answers: int) -> Fit | None:
    """The judgement once the engine has learnt from so many answers."""
    found = judged(client, SMOLLM2)
    said = "an answer" if answers == 1 else f"{answers} answers"
    return found if f"From {said} " in found.speed_note else None
