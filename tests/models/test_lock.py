"""The lock file: the same models give the same bytes, and each difference has a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import LLMSpellError, LockDiffers, ModelNotFound
from llmspell_jupyter.models import lock
from llmspell_jupyter.types import Lookup
from tests.support import hub_server, pulls, tiny_gguf
from tests.support.pulls import REPOSITORY, Pulls

NAMES = ["smollm2:135m", "all-minilm-l6-v2"]


def test_the_same_models_give_the_same_bytes(tmp_path: Path) -> None:
    one = lock.of(NAMES, tmp_path, Lookup())
    assert one.text() == lock.of(NAMES[::-1], tmp_path, Lookup()).text()
    file = tmp_path / lock.NAME
    one.write(file)
    assert lock.read(file).text() == file.read_text() == one.text()
    assert lock.read(file).check((), tmp_path, Lookup()) == []


def test_a_path_below_the_file_moves_with_it(tmp_path: Path) -> None:
    model = tiny_gguf.write_tiny_gguf(tmp_path / "m.gguf")
    made = lock.of([str(model)], tmp_path, Lookup())
    assert [each.spec for each in made.models] == ["./m.gguf"]
    assert made.check((), tmp_path, Lookup()) == []
    tiny_gguf.write_tiny_gguf(model, template="other", seed=1)
    with pytest.raises(LockDiffers) as caught:
        made.check((), tmp_path, Lookup())
    told = "\n".join(caught.value.data["differences"])
    assert "m.gguf has sha256" in told and made.models[0].files[0].sha256 in told
    assert "chat template" in told


def test_all_that_a_pull_brings_is_locked_and_restored(tmp_path: Path) -> None:
    """Files in folders below, too: one of them says how vectors are made."""
    pooling = "1_Pooling/config.json"
    names = ("modules.json", "sentence_bert_config.json", "vocab.txt", "chat_template.jinja")
    files = pulls.files() | dict.fromkeys(names, b"{}") | {pooling: b'{"pooling_mode": "cls"}'}
    with hub_server.hub() as hub:
        hub.add(REPOSITORY, files)
        here, there = (Pulls(hub, tmp_path / name) for name in ("here", "there"))
        here.pull()
        lookup = here.request().lookup
        made = lock.of([REPOSITORY], tmp_path, lookup)
        assert [each.path for each in made.models[0].files] == sorted(files)
        (model,) = made.models
        there.pull(there.request(model.to_pull, revision=model.revision, locked=model.hashes))
        assert there.published() == files
        assert made.check((), tmp_path, there.request().lookup) == []
    # As an editor does that writes a file anew.
    (changed,) = (here.root / "snapshots").glob(f"*/{pooling}")
    changed.unlink()
    changed.write_bytes(b'{"pooling_mode": "mean"}')
    with pytest.raises(LockDiffers, match=pooling):
        made.check((), tmp_path, lookup)


def test_another_version_is_a_note(tmp_path: Path) -> None:
    made = lock.Lock((), lock.versions() | {"llmspell-jupyter": "0.0"})
    (note,) = made.check((), tmp_path, Lookup())
    assert note.startswith("llmspell-jupyter: locked with 0.0, here ")


NAMED = lock.Lock(
    tuple(lock.Locked(each, "GGUF", ()) for each in ("./m.gguf", "o/r:Q4_K_M", "tiny:Q8_0")), {}
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("./m.gguf", "./m.gguf"),
        ("o/r", "o/r:Q4_K_M"),
        ("O/R:q4_k_m", "o/r:Q4_K_M"),
        ("hf.co/o/r:Q4_K_M", "o/r:Q4_K_M"),
        ("hf.co/o/r@candle", "o/r:Q4_K_M"),
        ("tiny@candle", "tiny:Q8_0"),
        ("tiny:Q8_0@local", "tiny:Q8_0"),
    ],
)
def test_a_model_is_named_as_everywhere(name: str, found: str) -> None:
    assert [each.spec for each in NAMED.chosen([name])] == [found]


@pytest.mark.parametrize("name", ["o/r:Q8_0", "none", "./x.gguf"])
def test_a_model_that_is_not_locked_is_named(name: str) -> None:
    with pytest.raises(ModelNotFound, match="has no model") as caught:
        NAMED.chosen([name])
    assert "o/r:Q4_K_M" in caught.value.hint


GOOD: dict[str, Any] = {
    "files": {"a.gguf": {"sha256": "0" * 64, "size_bytes": 1}},
    "format": "GGUF",
}


@pytest.mark.parametrize(
    "models",
    [
        {"x": GOOD | {"files": {"../a": {"sha256": "0" * 64, "size_bytes": 1}}}},
        {"x": GOOD | {"files": {"/a": {"sha256": "0" * 64, "size_bytes": 1}}}},
        {"x": GOOD | {"files": {"a": {"sha256": "0", "size_bytes": 1}}}},
        {"x": GOOD | {"repository": "a/../b", "revision": "0" * 40}},
        {"x": GOOD | {"repository": "a/b", "revision": "main"}},
        {"x y": GOOD},
        {"x": []},
        [],
    ],
)
def test_a_hostile_file_is_refused(tmp_path: Path, models: Any) -> None:
    file = tmp_path / lock.NAME
    file.write_text(json.dumps({"format": 1, "models": models, "versions": {}}))
    with pytest.raises(LLMSpellError, match="no lock file"):
        lock.read(file)
