"""What can be had is listed whole where servers answer, and soon where they do not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmspell_jupyter.errors import InvalidModelSpec
from llmspell_jupyter.models import catalog, store
from llmspell_jupyter.models.available import HUB_LIBRARY, OLLAMA_LIBRARY, _Asked, available
from llmspell_jupyter.types import AvailableModel, Lookup, Sources
from tests.support import hub_server
from tests.support.hub_server import Hub
from tests.support.tiny_gguf import write_tiny_gguf

GGUF = b"GGUF" + bytes(100)


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed but what packages carry."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("LLMSPELL_MODEL_PATH", str(tmp_path / "models"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.hub() as running:
        running.add(
            "us/House-1B-GGUF",
            {"house-Q4_K_M.gguf": GGUF, "house-Q8_0.gguf": GGUF + GGUF},
            license="mit",
            downloads=5,
            gguf={"total": 1_000_000, "architecture": "llama", "context_length": 2048},
        )
        running.add("us/House-1B", {"house.pt": b"pickle"}, downloads=50)
        running.add("TheBloke/phi-2-GGUF", {"phi-2.Q4_K_M.gguf": GGUF}, downloads=9)
        yield running


def nowhere(sources: Sources | None = None) -> Sources:
    """Sources whose Ollama does not answer: a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return replace(sources or Sources(offline=True), ollama_url=f"http://127.0.0.1:{port}")


def ids(models: tuple[AvailableModel, ...], origin: str | None = None) -> list[str]:
    return [model.id for model in models if origin in (None, model.origin)]


def test_without_a_search_the_catalog_is_listed_and_no_hub_asked(hub: Hub) -> None:
    found = available(sources=nowhere(hub.sources()))
    assert ids(found.models) == list(catalog.models())
    assert hub.requests == []
    assert (
        f"The hub is searched with: %model_available --search TEXT; see {HUB_LIBRARY}"
        in found.notes
    )
    assert any(OLLAMA_LIBRARY in note for note in found.notes)


def test_a_row_tells_what_the_catalog_knows() -> None:
    (model,) = available("candle", "tinyllama", nowhere()).models
    known = catalog.models()["tinyllama"]
    assert model == AvailableModel(
        id="tinyllama",
        backend="candle",
        origin="catalog",
        title=known.title,
        repository="TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
        quantizations=("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"),
        size_bytes=668_788_096,
        parameter_count=1_100_048_384,
        license="apache-2.0",
        context_length=2048,
        architecture="llama",
        tasks=("generate",),
    )
    other = available("candle", "tinyllama", nowhere(), Lookup(quantization="q8_0")).models[0]
    assert other.quantizations[0] == "Q8_0" and other.size_bytes == known.size_bytes("Q8_0")


def test_bundled_models_are_marked() -> None:
    bundled = {info.id for info in store.installed([]) if info.bundled}
    models = available("local", "", nowhere()).models
    assert bundled and set(ids(models, "bundled")) == bundled
    assert {model.id for model in models if model.installed} == bundled


def test_installed_models_are_marked(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "TinyLlama-1.1b"
    folder.mkdir(parents=True)
    write_tiny_gguf(folder / "tiny.gguf")
    models = available("candle", "", nowhere()).models
    assert [model.id for model in models if model.installed and model.origin == "catalog"] == [
        "tinyllama"
    ]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("flan", ["flan-t5-small", "flan-t5-base", "flan-t5-large"]),
        ("FLAN  small", ["flan-t5-small"]),
        ("thebloke", ["tinyllama", "phi-2"]),
        ("embed qwen3", ["qwen3-embedding-0.6b"]),
        ("llama3.1:8b", ["llama3.1-8b"]),
        ("mit translates", []),
    ],
)
def test_all_words_have_to_occur(search: str, found: list[str]) -> None:
    assert ids(available("candle", search, nowhere()).models) == found


def test_a_search_asks_the_hub_as_well(hub: Hub) -> None:
    found = available("candle", "house", hub.sources())
    assert found.notes == ()
    (model,) = found.models
    assert (model.id, model.origin, model.backend) == ("us/House-1B-GGUF", "hub", "candle")
    assert model.quantizations == ("Q4_K_M", "Q8_0")
    assert (model.license, model.parameter_count, model.downloads) == ("mit", 1_000_000, 5)


def test_what_the_catalog_has_is_not_listed_twice(hub: Hub) -> None:
    found = available("candle", "phi-2", hub.sources())
    assert ids(found.models) == ["phi-2"]
    assert any("/api/models" in request.path for request in hub.requests)


def test_further_catalogs_and_their_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "more.toml"
    path.write_text(
        '[[model]]\nname = "ours"\nrepository = "us/ours"\n[[model]]\nname = "bad"\n', "utf-8"
    )
    found = available("candle", "", nowhere(), Lookup(catalogs=(str(path),)))
    assert ids(found.models)[0] == "ours"
    assert found.notes[0].startswith(f"Catalog {path}: model 'bad' is left out")


def test_offline_nothing_is_asked_and_said(hub: Hub) -> None:
    sources = replace(hub.sources(), offline=True, ollama_url="http://ollama.example:11434")
    start = time.monotonic()
    found = available(None, "tinyllama", sources)
    assert time.monotonic() - start < 1
    assert ids(found.models) == ["tinyllama"]
    assert hub.requests == []
    assert found.notes[:2] == (
        "Ollama at http://ollama.example:11434 is not asked: this profile works offline.",
        "The hub is not searched: this profile works offline.",
    )


def test_a_server_that_is_not_there_is_a_note(hub: Hub) -> None:
    gone = replace(nowhere(hub.sources()), endpoint=nowhere().ollama_url)
    found = available(None, "tinyllama", gone)
    assert ids(found.models) == ["tinyllama"]
    for address in (gone.ollama_url, gone.endpoint.removeprefix("http://")):
        assert [note for note in found.notes if "cannot be reached" in note and address in note]
    assert not [note for note in found.notes if "\n" in note]


def test_servers_that_say_nothing_are_left_after_three_seconds(hub: Hub) -> None:
    hub.fault("/api/models", "silent")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ollama_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        found = available(None, "tinyllama", replace(hub.sources(), ollama_url=ollama_url))
        assert time.monotonic() - start < 5
    assert ids(found.models) == ["tinyllama"]
    silent_ones = [note for note in found.notes if "reached" in note or "within" in note]
    assert len(silent_ones) == 2, found.notes


def test_a_source_that_never_ends_is_left_after_three_seconds() -> None:
    """Whatever limits a source has of its own."""
    over = threading.Event()

    def ask_the_sea() -> list[AvailableModel]:
        over.wait(60)
        return []

    asked = _Asked()
    asked.ask("The sea", ask_the_sea)
    asked.ask("The land", list)
    start = time.monotonic()
    assert asked.answers() == ([], ["The sea did not answer within 3 seconds."])
    assert time.monotonic() - start < 10
    over.set()


def test_a_backend_chooses(hub: Hub) -> None:
    sources = nowhere(hub.sources())
    assert ids(available("Ollama", "house", sources).models) == []
    assert hub.requests == []
    assert not [note for note in available("candle", "", sources).notes if "Ollama" in note]
    assert ids(available("ALL", "", sources).models) == list(catalog.models())
    with pytest.raises(InvalidModelSpec, match=r"'vllm' is not known.*candle, ollama"):
        available("vllm", "", sources)
