"""Which of a repository's files make the model that is taken, by their names alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspell_jupyter.errors import ModelNotFound
from llmspell_jupyter.models import hub as our_hub
from llmspell_jupyter.models.hub import Plan, files
from llmspell_jupyter.types import Lookup, PullRequest
from tests.support import hub_server


def names(*kinds: str) -> list[str]:
    """A file of each kind, in an order of its own."""
    found = [f"m-{kind}.gguf" for kind in kinds]
    random.Random(0).shuffle(found)
    return found


@pytest.mark.parametrize(
    "order",
    [
        ("Q4_K_L", "UD-Q4_K_XL", "Q3_K_XL", "IQ2_XXS", "BF16"),
        ("Q4_K_M", "UD-Q4_K_M", "Q4_K_L", "UD-Q4_K_XL", "Q4_K_S"),
        ("Q5_K_M", "Q5_K_XL", "Q5_K_S", "Q6_K", "Q6_K_L", "Q8_0", "UD-Q8_K_XL", "F16"),
        ("Q3_K_L", "Q3_K_XL", "Q3_K_M", "Q2_K", "Q2_K_L", "IQ2_M", "IQ1_S", "F32"),
        # Kinds that nobody knows yet: smaller than whole numbers, whatever they are.
        ("Q8_0", "IQ1_M", "TQ1_0", "NVFP4", "BF16", "UD-BF16", "F16", "F32"),
    ],
)
def test_the_best_kind_comes_first_and_the_largest_last(order: tuple[str, ...]) -> None:
    assert files.quantizations(names(*order)) == order


def test_whole_numbers_are_not_what_is_taken_by_itself() -> None:
    paths = names("IQ2_XXS", "NVFP4", "BF16")
    assert files.choose_gguf("o/r", paths, None, ("Q4_K_M",)).quantization == "IQ2_XXS"
    paths = names("NVFP4", "BF16")
    assert files.choose_gguf("o/r", paths, None, ("Q4_K_M",)).quantization == "NVFP4"


# Names that adapters have, and models that one was merged into


MERGED = "llama3-lora-merged.Q4_K_M.gguf"
ADAPTER = "m-lora-F16.gguf"


def plan(hub: hub_server.Hub, model: str) -> Plan:
    return our_hub.plan(PullRequest(model, sources=hub.sources()))


@pytest.fixture
def hub() -> Iterator[hub_server.Hub]:
    with hub_server.hub() as made:
        yield made


def test_a_model_that_an_adapter_was_merged_into_is_fetched(hub: hub_server.Hub) -> None:
    hub.add("o/r", {MERGED: b"GGUF", "README.md": b"x"})
    for name in ("o/r", "o/r:Q4_K_M", "o/r:q4", f"o/r:{MERGED}"):
        made = plan(hub, name)
        assert (made.model, [each.path for each in made.files]) == ("o/r:Q4_K_M", [MERGED])
    with pytest.raises(ModelNotFound, match="has no Q8_0; it has Q4_K_M"):
        plan(hub, "o/r:Q8_0")


def test_where_there_is_another_model_only_its_file_names_it(hub: hub_server.Hub) -> None:
    hub.add("o/r", {ADAPTER: b"GGUF", "m-Q8_0.gguf": b"GGUF other"})
    assert plan(hub, "o/r").model == "o/r:Q8_0"
    assert [each.path for each in plan(hub, f"o/r:{ADAPTER}").files] == [ADAPTER]
    with pytest.raises(ModelNotFound, match="has no F16; it has Q8_0"):
        plan(hub, "o/r:F16")


def test_safetensors_are_another_model(hub: hub_server.Hub) -> None:
    t5 = {"config.json": b"{}", "model.safetensors": b"weights"}
    hub.add("o/r", t5 | {MERGED: b"GGUF"})
    assert [each.path for each in plan(hub, "o/r").files] == sorted(t5)
    assert [each.path for each in plan(hub, "o/r:BF16").files] == sorted(t5)
    for name in (f"o/r:{MERGED}", "o/r:Q4_K_M"):
        assert [each.path for each in plan(hub, name).files] == [MERGED]


def test_a_catalog_knows_better(tmp_path: Path, hub: hub_server.Hub) -> None:
    hub.add("o/r", {MERGED: b"GGUF", "x-Q8_0.gguf": b"GGUF other"})
    path = tmp_path / "catalog.toml"
    path.write_text(
        '[[model]]\nname = "merged"\nrepository = "o/r"\nquantization = "Q4_K_M"\n'
        f'files = {{ Q4_K_M = [{{ path = "{MERGED}", size = 4 }}] }}\n'
    )
    lookup = Lookup(catalogs=(str(path),))
    made = our_hub.plan(PullRequest("merged", lookup=lookup, sources=hub.sources()))
    assert [each.path for each in made.files] == [MERGED]


def test_a_search_shows_no_adapters(hub: hub_server.Hub) -> None:
    hub.add("o/tiny-lora", {ADAPTER: b"GGUF"})
    assert our_hub.search("tiny", hub.sources()) == []
