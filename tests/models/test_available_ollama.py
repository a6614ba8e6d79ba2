"""What an Ollama server has is listed with what else can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from llmspell_jupyter.models import spec
from llmspell_jupyter.models.available import OLLAMA_LIBRARY, available
from llmspell_jupyter.types import AvailableModel, Sources
from tests.support import ollama_server
from tests.support.ollama_server import Ollama


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    with ollama_server.ollama() as running:
        running.add("llama3.1:8b", size=4_900)
        running.add("us/odd:latest", family="qwen3", parameter_size="596.05M")
        yield running


def ids(models: tuple[AvailableModel, ...]) -> list[str]:
    return [model.id for model in models]


def test_what_an_ollama_server_has(ollama: Ollama) -> None:
    sources = Sources(ollama_url=ollama.url)
    found = available("ollama", "", sources)
    assert ids(found.models) == ["llama3.1:8b@ollama", "us/odd:latest@ollama"]
    first = found.models[0]
    assert (first.origin, first.backend, first.installed) == ("ollama", "ollama", True)
    assert (first.quantizations, first.size_bytes, first.architecture) == (
        ("Q4_K_M",),
        4_900,
        "llama",
    )
    assert found.models[1].parameter_count == 596_050_000
    for model in found.models:
        assert str(spec.parse(model.id)) == model.id
    assert found.notes == (f"Ollama's library cannot be searched from here; see {OLLAMA_LIBRARY}",)
    assert ids(available("ollama", "odd", sources).models) == ["us/odd:latest@ollama"]
    assert ids(available("candle", "odd", replace(sources, offline=True)).models) == []
    # What is on this machine is no network.
    everything = available(None, "llama3.1", replace(sources, offline=True))
    assert ids(everything.models) == ["llama3.1-8b", "llama3.1:8b@ollama"]


def test_an_ollama_server_that_talks_nonsense_is_a_note(ollama: Ollama) -> None:
    ollama.fault("/api/tags", "status", status=500, message="out of order")
    found = available(None, "tinyllama", Sources(ollama_url=ollama.url, offline=True))
    assert ids(found.models) == ["tinyllama"]
    assert "out of order" in found.notes[0]
