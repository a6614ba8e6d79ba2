"""Models in the browser: what is on this machine is shown as such, whoever runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspell_jupyter.models.available import available
from llmspell_jupyter.types import AvailableModel, Lookup, ModelInfo, Sources
from llmspell_jupyter.widgets import entries, looks
from llmspell_jupyter.widgets.entries import Entry
from llmspell_jupyter.widgets.state import State
from tests.support import ollama_server


def _of_ollama(*names: str) -> list[Entry]:
    """The entries that a server with these models has in the browser."""
    with ollama_server.ollama() as server:
        for name in names:
            server.add(name)
        found = available("ollama", sources=Sources(ollama_url=server.url)).models
    return entries.merged([], found)


def test_a_model_of_ollamas_server_is_installed() -> None:
    (entry,) = _of_ollama("llama3.1:8b")
    state = State(entries={entry.key: entry})
    assert state.shows(entry, "installed") and not state.shows(entry, "available")
    look = looks.look(state, entry)
    assert (look.name, look.state) == ("llama3.1:8b@ollama", "installed")
    assert look.hint == "llama3.1:8b@ollama · in ollama"
    # Its server loads it by itself, and this package's engine cannot.
    assert (look.verb, look.able) == ("Load", False)


@pytest.mark.parametrize("search", ["", "tinyllama"])
def test_what_the_catalog_offers_can_be_pulled(search: str, tmp_path: Path) -> None:
    nothing = Lookup(caches=(str(tmp_path),))
    found = available("candle", search, Sources(offline=True), nothing).models
    entry = next(each for each in entries.merged([], found) if each.id == "tinyllama")
    look = looks.look(State(entries={entry.key: entry}), entry)
    assert (look.state, look.verb, look.able) == ("available", "Pull", True)


def test_a_file_made_in_another_way_is_not_the_usual_one() -> None:
    """Its header says what the usual file's says; its name tells them apart."""
    model = ModelInfo(
        id="owner/name:UD-Q4_K_XL",
        backend="candle",
        path=Path("m-UD-Q4_K_XL.gguf"),
        format="GGUF",
        size_bytes=1,
        modified_at=0,
        quantization="Q4_K_M",
        store="hub",
        repository="owner/name",
    )
    offer = AvailableModel("hf.co/owner/name", "candle", "hub", quantizations=("Q4_K_M",))
    here, there = entries.merged([model], [offer])
    assert (here.id, here.installed) == (model.id, True)
    assert (there.id, there.installed) == ("hf.co/owner/name", False)
