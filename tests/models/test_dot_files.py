"""Hidden files of a repository, such as .gitattributes, are files of its revisions as all others."""

from __future__ import annotations

import time
from pathlib import Path

from huggingface_hub import scan_cache_dir

from llmspell_jupyter.models import store
from llmspell_jupyter.models.garbage import GRACE, collect
from llmspell_jupyter.models.removal import remove
from llmspell_jupyter.types import Lookup
from tests.support.hub_cache import blob_of, commit, publish, tree

HIDDEN = {".gitattributes": b"*.gguf filter=lfs", ".github/.deep/x.txt": b"Words."}


def collected() -> list[str]:
    found = collect(Lookup(), dry_run=False, now=time.time() + 2 * GRACE)
    return [each.path.name for each in found]


def is_sound(cache: Path) -> bool:
    return not scan_cache_dir(cache).warnings


def test_a_repository_that_was_fetched_whole_has_no_garbage(cache: Path, gguf: bytes) -> None:
    publish(cache, "owner/name", {"m-Q8_0.gguf": gguf} | HIDDEN)
    before = tree(cache)
    assert collected() == []
    assert tree(cache) == before and is_sound(cache)


def test_the_last_model_takes_them_with_it(cache: Path, gguf: bytes, t5: dict[str, bytes]) -> None:
    publish(cache, "owner/name", {"m-Q8_0.gguf": gguf} | HIDDEN)
    publish(cache, "owner/t5", t5 | HIDDEN)
    size = sum(map(len, HIDDEN.values()))
    assert remove(store.resolve("owner/name")) == len(gguf) + size
    assert remove(store.resolve("owner/t5")) == sum(map(len, t5.values())) + size
    assert tree(cache) == []


def test_while_other_models_are_here_they_stay(cache: Path, gguf: bytes) -> None:
    publish(cache, "owner/name", {"m-Q8_0.gguf": gguf, "m-Q4_0.gguf": gguf + b"\0"} | HIDDEN)
    publish(cache, "owner/name", {"m-Q5_0.gguf": gguf} | HIDDEN, revision=commit(2), ref="v2")
    assert remove(store.resolve("owner/name:Q4_0")) == len(gguf) + 1
    assert is_sound(cache)
    remove(store.resolve("owner/name:Q8_0"))
    assert is_sound(cache) and collected() == []
    snapshot = store.resolve("owner/name:Q5_0").path.parent
    assert all((snapshot / name).read_bytes() == data for name, data in HIDDEN.items())


def test_a_hidden_name_without_its_file_is_garbage(cache: Path, gguf: bytes) -> None:
    snapshot = publish(cache, "owner/name", {"m-Q8_0.gguf": gguf} | HIDDEN)
    blob_of(snapshot / ".gitattributes").unlink()
    assert not is_sound(cache)
    assert collected() == [".gitattributes"] and is_sound(cache)


def test_what_was_converted_keeps_no_file_of_the_model(
    cache: Path, gguf: bytes, t5: dict[str, bytes]
) -> None:
    snapshot = publish(cache, "owner/both", t5 | {"m-Q8_0.gguf": gguf})
    made = snapshot / ".llmspell" / "ctranslate2-int8-0"
    made.mkdir(parents=True)
    (made / "model.bin").write_bytes(b"x" * len(gguf))
    (made / "config.json").write_bytes(t5["config.json"])
    model = next(info for info in store.installed() if info.path == snapshot)
    remove(model)
    assert [info.id for info in store.installed() if info.store == "hub"] == ["owner/both:Q8_0"]
    assert tree(snapshot) == ["m-Q8_0.gguf"]
    assert len(tree(snapshot.parent.parent / "blobs")) == 1


def test_no_weights_beside_but_those_that_were_converted(cache: Path, t5: dict[str, bytes]) -> None:
    snapshot = publish(cache, "owner/t5", t5 | HIDDEN)
    made = snapshot / ".llmspell" / "ctranslate2-int8-0"
    made.mkdir(parents=True)
    (made / "model.bin").write_bytes(b"x" * 100)
    assert remove(store.resolve("owner/t5")) == sum(map(len, (t5 | HIDDEN).values())) + 100
    assert tree(cache) == []
