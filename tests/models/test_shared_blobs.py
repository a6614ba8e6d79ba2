"""What the hub's library keeps once for all repositories of a cache is read and freed as its own."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir
from huggingface_hub.utils import _shared_blobs as library

from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import locked_files, store
from llmspell_jupyter.models.garbage import GRACE, Garbage, collect
from llmspell_jupyter.models.members import member
from llmspell_jupyter.models.removal import remove
from llmspell_jupyter.models.verify import verify
from llmspell_jupyter.types import Lookup
from tests.support.hub_cache import blob_of, tree
from tests.support.shared_blobs import payloads, shared

WEIGHTS = "model.safetensors"


def collected(*, dry_run: bool = False, later: float = 2 * GRACE) -> tuple[Garbage, ...]:
    return collect(Lookup(), dry_run=dry_run, now=time.time() + later)


def is_sound(cache: Path) -> bool:
    return not scan_cache_dir(cache).warnings


def test_a_folder_of_safetensors_is_a_model(cache: Path, t5: dict[str, bytes]) -> None:
    snapshot = shared(cache, "owner/t5", t5)
    model = store.resolve("owner/t5")
    assert (model.path, model.architecture) == (snapshot, "t5")
    assert member(snapshot, WEIGHTS) == snapshot / WEIGHTS
    checked = verify(model, lambda _: None, threading.Event()).metadata
    assert (checked["checked"], checked["unchecked"]) == ("sha256", [])
    assert {each.path: each.size_bytes for each in locked_files.of(model)} == {
        name: len(data) for name, data in t5.items()
    }


def test_a_gguf_file_is_a_model(cache: Path, gguf: bytes) -> None:
    shared(cache, "owner/name", {"m-Q8_0.gguf": gguf})
    model = store.resolve("owner/name")
    assert (model.id, model.architecture) == ("owner/name:Q8_0", "llama")
    checked = verify(model, lambda _: None, threading.Event()).metadata
    assert (checked["checked"], checked["unchecked"]) == ("sha256", [])
    assert [each.size_bytes for each in locked_files.of(model)] == [len(gguf)]


def test_a_cache_that_is_reached_through_a_link(
    cache: Path, t5: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared(cache, "owner/t5", t5)
    link = cache.with_name("link")
    link.symlink_to(cache)
    monkeypatch.setenv("HF_HUB_CACHE", str(link))
    model = store.resolve("owner/t5")
    assert model.architecture == "t5"
    assert remove(model) == sum(map(len, t5.values()))
    assert payloads(cache) == []


@pytest.mark.parametrize("name", ["secret", "ab/" + "c" * 64, "cc/" + "c" * 64 + ".refs"])
def test_only_what_is_laid_as_the_library_lays_it_is_of_a_folder(cache: Path, name: str) -> None:
    snapshot = shared(cache, "owner/name", {WEIGHTS: b"x" * 100, "config.json": b"{}"})
    other = cache / "blobs" / name
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"of another")
    (snapshot / "x.json").symlink_to(other)
    with pytest.raises(BadModelFile, match="leads out of the folder"):
        member(snapshot, "x.json")


def test_a_folder_without_the_librarys_mark_is_no_store(cache: Path) -> None:
    snapshot = shared(cache, "owner/name", {WEIGHTS: b"x" * 100, "config.json": b"{}"})
    mark = cache / "blobs" / library.SHARED_BLOBS_MARKER_NAME
    mark.rename(cache / "mark")
    with pytest.raises(BadModelFile, match="leads out of the folder"):
        member(snapshot, WEIGHTS)
    mark.symlink_to(cache / "mark")
    with pytest.raises(BadModelFile, match="leads out of the folder"):
        member(snapshot, WEIGHTS)


def test_with_a_model_goes_what_nobody_shares_with_it(
    cache: Path, t5: dict[str, bytes], gguf: bytes
) -> None:
    shared(cache, "owner/t5", t5)
    shared(cache, "owner/name", {"m-Q8_0.gguf": gguf, "m-Q4_0.gguf": b"GGUF other"})
    assert remove(store.resolve("owner/t5")) == sum(map(len, t5.values()))
    assert payloads(cache) == sorted([len(gguf), 10])
    assert remove(store.resolve("owner/name:Q8_0")) == len(gguf)
    assert payloads(cache) == [10] and is_sound(cache)


def test_what_others_share_stays(cache: Path, gguf: bytes) -> None:
    shared(cache, "owner/one", {"m-Q8_0.gguf": gguf})
    shared(cache, "owner/two", {"m-Q8_0.gguf": gguf, "copy-Q4_0.gguf": b"GGUF other"})
    assert payloads(cache) == sorted([len(gguf), 10])
    assert remove(store.resolve("owner/one")) == 0
    assert store.resolve("owner/two:Q8_0").architecture == "llama" and is_sound(cache)
    assert remove(store.resolve("owner/two:Q8_0")) == len(gguf)
    assert payloads(cache) == [10]


def test_what_no_revision_needs_is_garbage_with_its_bytes(cache: Path, gguf: bytes) -> None:
    snapshot = shared(cache, "owner/name", {"m-Q8_0.gguf": gguf, "m-Q4_0.gguf": b"GGUF other"})
    blob = snapshot.parent.parent / "blobs" / (snapshot / "m-Q8_0.gguf").readlink().name
    (snapshot / "m-Q8_0.gguf").unlink()
    assert collected(later=GRACE - 60) == ()
    assert [(each.path, each.bytes) for each in collected(dry_run=True)] == [(blob, len(gguf))]
    assert blob.exists()
    assert [(each.path, each.bytes) for each in collected()] == [(blob, len(gguf))]
    assert payloads(cache) == [10] and is_sound(cache)
    assert collected() == ()


def test_what_an_interrupted_removal_left_is_garbage(cache: Path, gguf: bytes) -> None:
    snapshot = shared(cache, "owner/name", {"m-Q8_0.gguf": gguf, "m-Q4_0.gguf": b"GGUF other"})
    payload = blob_of(snapshot / "m-Q8_0.gguf")
    blob = snapshot.parent.parent / "blobs" / (snapshot / "m-Q8_0.gguf").readlink().name
    (snapshot / "m-Q8_0.gguf").unlink()
    blob.unlink()
    assert collected(later=GRACE - 60) == ()
    (found,) = collected(dry_run=True)
    assert (found.path, found.bytes, found.kept) == (payload, len(gguf), False)
    assert payload.exists()
    (found,) = collected()
    assert (found.path, found.bytes, found.kept) == (payload, len(gguf), False)
    assert payloads(cache) == [10] and is_sound(cache)


def test_what_the_library_counts_for_nobody_stays(cache: Path, gguf: bytes) -> None:
    snapshot = shared(cache, "owner/name", {"m-Q8_0.gguf": gguf})
    payload = blob_of(snapshot / "m-Q8_0.gguf")
    payload.with_name(f"{payload.name}.refs").unlink()
    assert remove(store.resolve("owner/name")) == 0
    assert payload.exists() and collected() == ()


def test_a_store_of_its_own_is_no_garbage(cache: Path, t5: dict[str, bytes]) -> None:
    shared(cache, "owner/t5", t5)
    before = tree(cache)
    assert collected() == () and tree(cache) == before
    assert json.loads((store.resolve("owner/t5").path / "config.json").read_bytes())
