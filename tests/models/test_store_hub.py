"""Stores laid out as the Hugging Face cache: the user's own, and those of an administrator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmspell_jupyter.errors import BadModelFile, ModelNotFound, UnsafeFormat
from llmspell_jupyter.models import catalog, spec, store
from llmspell_jupyter.types import Lookup, ModelInfo
from tests.support import hub_server
from tests.support.hub_cache import blob_of, commit, files_of, publish
from tests.support.tiny_gguf import write_tiny_gguf
from tests.support.tiny_safetensors import write_tiny_folder

REPOSITORY = "owner/name"
USUAL = Lookup()


@pytest.fixture(scope="module")
def t5_in_three(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(write_tiny_folder(tmp_path_factory.mktemp("t5"), kind="t5", shards=3))


def listed(lookup: Lookup = USUAL) -> dict[str, ModelInfo]:
    return {info.id: info for info in store.installed(lookup=lookup) if not info.bundled}


def test_quantisations_of_a_repository(cache: Path, gguf: bytes) -> None:
    names = ("m.Q4_K_M.gguf", "m.Q8_0.gguf", "README.md")
    snapshot = publish(cache, REPOSITORY, dict.fromkeys(names, gguf))
    found = listed()
    assert list(found) == ["owner/name:Q4_K_M", "owner/name:Q8_0"]
    info = found["owner/name:Q8_0"]
    assert (info.path, info.format, info.store) == (snapshot / "m.Q8_0.gguf", "GGUF", "hub")
    assert (info.repository, info.revision) == (REPOSITORY, commit(1))
    assert (info.architecture, info.size_bytes, info.backend) == ("llama", len(gguf), "candle")
    for name in ("owner/name:Q8_0", "hf.co/Owner/Name:q8_0", "owner/name:m.Q8_0.gguf"):
        assert store.resolve(name) == info
    assert store.resolve(REPOSITORY).id == "owner/name:Q4_K_M"  # what a profile prefers
    assert store.resolve(REPOSITORY, Lookup(quantization="Q8_0")) == info
    assert store.is_named("owner/name", info) and not store.is_named("owner/name:Q4_0", info)


def test_one_file_without_a_quantisation(cache: Path, gguf: bytes) -> None:
    publish(cache, REPOSITORY, {"model.gguf": gguf, "mmproj-model.gguf": gguf})
    assert list(listed()) == [REPOSITORY]
    assert store.resolve(REPOSITORY).path.name == "model.gguf"


def test_two_files_of_one_quantisation_are_named_by_their_paths(cache: Path, gguf: bytes) -> None:
    publish(cache, REPOSITORY, {"a-Q8_0.gguf": gguf, "b/c-Q8_0.gguf": gguf, "d-Q4_0.gguf": gguf})
    ids = ["owner/name:Q4_0", "owner/name:a-Q8_0.gguf", "owner/name:b/c-Q8_0.gguf"]
    assert sorted(listed()) == ids
    for model_id in ids:
        assert store.resolve(model_id).id == model_id
        assert spec.parse(model_id).kind == "repository"


def test_parts_in_folders(cache: Path, gguf: bytes) -> None:
    names = [f"Q4_0/m-Q4_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    snapshot = publish(cache, REPOSITORY, dict.fromkeys(names, gguf))
    assert list(listed()) == ["owner/name:Q4_0"]
    info = store.resolve("owner/name:Q4_0")
    assert info.path == snapshot / names[0] and info.size_bytes == 3 * len(gguf)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_model_of_which_a_part_is_missing(cache: Path, gguf: bytes, lost: int) -> None:
    names = [f"m-Q4_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    snapshot = publish(cache, REPOSITORY, dict.fromkeys(names, gguf))
    (snapshot / names[lost - 1]).unlink()
    assert listed()["owner/name:Q4_0"].architecture is None
    with pytest.raises(BadModelFile, match=f"{names[lost - 1]} is missing") as caught:
        store.resolve("owner/name:Q4_0")
    assert "%model_pull owner/name:Q4_0 --force" in caught.value.hint
    assert "jupyter llmspell model pull owner/name:Q4_0 --force" in caught.value.hint


def test_safetensors(cache: Path, t5: dict[str, bytes], t5_in_three: dict[str, bytes]) -> None:
    one = publish(cache, REPOSITORY, t5)
    publish(cache, "other/name", t5_in_three)
    found = listed()
    assert list(found) == ["other/name", REPOSITORY] or list(found) == [REPOSITORY, "other/name"]
    assert (found[REPOSITORY].path, found[REPOSITORY].format) == (one, "safetensors")
    assert {info.architecture for info in found.values()} == {"t5"}
    assert store.resolve("other/name").size_bytes == sum(
        len(data) for name, data in t5_in_three.items() if name.endswith(".safetensors")
    )


def test_gguf_beside_safetensors(cache: Path, gguf: bytes, t5: dict[str, bytes]) -> None:
    publish(cache, REPOSITORY, t5 | {"model.gguf": gguf, "q/m-Q8_0.gguf": gguf})
    assert sorted(listed()) == [REPOSITORY, "owner/name:Q8_0", "owner/name:model.gguf"]
    assert store.resolve(REPOSITORY).format == "safetensors"
    assert store.resolve("owner/name:model.gguf").format == "GGUF"


@pytest.mark.parametrize("how", ["no name", "no file", "no config", "all shards"])
def test_safetensors_of_which_something_is_missing(
    cache: Path, t5_in_three: dict[str, bytes], how: str
) -> None:
    shard, config = "model-00002-of-00003.safetensors", "config.json"
    snapshot = publish(cache, REPOSITORY, t5_in_three)
    if how == "no name":
        (snapshot / shard).unlink()
    elif how == "all shards":
        for path in snapshot.glob("*.safetensors"):
            path.unlink()
    else:
        blob_of(snapshot / (shard if how == "no file" else config)).unlink()
    assert listed()[REPOSITORY].architecture is None
    with pytest.raises(BadModelFile) as caught:
        store.resolve(REPOSITORY)
    assert "%model_pull owner/name --force" in caught.value.hint


def test_a_link_to_nothing_is_no_model_that_can_be_used(cache: Path, gguf: bytes) -> None:
    snapshot = publish(cache, REPOSITORY, {"m-Q8_0.gguf": gguf})
    blob_of(snapshot / "m-Q8_0.gguf").unlink()
    info = listed()["owner/name:Q8_0"]
    assert (info.architecture, info.size_bytes) == (None, 0)
    with pytest.raises(BadModelFile, match=r"m-Q8_0\.gguf is missing"):
        store.resolve(info.id)


def test_what_could_run_code_stays_refused(cache: Path, t5: dict[str, bytes]) -> None:
    pickled = {"config.json": t5["config.json"], "pytorch_model.bin": b"pickle"}
    publish(cache, REPOSITORY, pickled)
    assert listed()[REPOSITORY].architecture is None
    with pytest.raises(UnsafeFormat, match=r"pytorch_model\.bin"):
        store.resolve(REPOSITORY)


def test_what_is_no_model(cache: Path, gguf: bytes, t5: dict[str, bytes]) -> None:
    publish(cache, REPOSITORY, {"config.json": b"{}", "README.md": b""})
    publish(cache, "owner/pipeline", {"unet/model.safetensors": b"x", "model_index.json": b"{}"})
    publish(cache, "owner/adapter", {"adapter_model.safetensors": b"x"})
    snapshot = publish(cache, "owner/hidden", {"README.md": b""})
    (snapshot / ".llmspell").mkdir()
    (snapshot / ".llmspell" / "m-Q8_0.gguf").write_bytes(gguf)
    (cache / "datasets--owner--name" / "snapshots" / "x").mkdir(parents=True)
    (cache / ".locks").mkdir()
    (cache / "models--").mkdir()
    (cache / "models--a--b").touch()
    (cache / "models--a--c" / "snapshots").mkdir(parents=True)
    assert listed() == {}


def test_the_revision_of_the_main_branch_has_the_name(cache: Path, gguf: bytes) -> None:
    for number, ref in ((1, None), (2, "main"), (3, "next")):
        publish(cache, REPOSITORY, {"m-Q8_0.gguf": gguf}, revision=commit(number), ref=ref)
    assert [info.revision for info in listed().values()] == [commit(2)]
    assert store.resolve("owner/name:Q8_0").revision == commit(2)
    for revision, number in ((commit(1), 1), ("main", 2), ("next", 3), (commit(3), 3)):
        found = store.resolve("owner/name:Q8_0", revision=revision)
        assert found.revision == commit(number)
    every = [info.revision for info in store.installed(revisions=True) if info.store == "hub"]
    assert every == [commit(2), commit(3), commit(1)]
    for revision in ("none", commit(4), "../main", "x/../../refs/main", ""):
        if revision:
            with pytest.raises(ModelNotFound, match="is not on this machine"):
                store.resolve("owner/name:Q8_0", revision=revision)


def test_without_a_main_branch_the_newest_revision_counts(cache: Path, gguf: bytes) -> None:
    for number in (1, 2, 3):
        snapshot = publish(
            cache, REPOSITORY, {"m-Q8_0.gguf": gguf}, revision=commit(number), ref=None
        )
        time = 1_000 if number == 2 else number
        os.utime(snapshot, (time, time))
    assert [info.revision for info in listed().values()] == [commit(2)]


def test_an_old_revision_keeps_what_the_newer_one_does_not_have(cache: Path, gguf: bytes) -> None:
    publish(cache, REPOSITORY, {"m-Q8_0.gguf": gguf}, revision=commit(1))
    publish(cache, REPOSITORY, {"m-Q4_0.gguf": gguf}, revision=commit(2))
    assert {model_id: info.revision for model_id, info in listed().items()} == {
        "owner/name:Q4_0": commit(2),
        "owner/name:Q8_0": commit(1),
    }


def test_owners_with_the_names_of_providers(cache: Path, gguf: bytes) -> None:
    publish(cache, "openai/model", {"m-Q8_0.gguf": gguf})
    assert list(listed()) == ["hf.co/openai/model:Q8_0"]
    assert store.resolve("hf.co/openai/model:Q8_0").repository == "openai/model"


def test_repositories_of_old_without_an_owner(cache: Path, t5: dict[str, bytes]) -> None:
    publish(cache, "old-model", t5)
    assert list(listed()) == ["hf.co/old-model"]
    for name in ("old-model", "hf.co/old-model"):
        assert store.resolve(name).repository == "old-model"


def test_the_licence_of_the_file(cache: Path, tmp_path: Path) -> None:
    path = write_tiny_gguf(
        tmp_path / "m-Q8_0.gguf", change=lambda writer: writer.add_license(" Apache-2.0 ")
    )
    publish(cache, REPOSITORY, {path.name: path})
    assert store.resolve(REPOSITORY).license == "apache-2.0"


def test_models_of_the_catalog_have_its_names(
    cache: Path, gguf: bytes, t5: dict[str, bytes]
) -> None:
    small = catalog.find("tinyllama")
    large = catalog.find("flan-t5-small")
    assert small and large
    file = small.files[small.quantization or ""][0].path
    publish(cache, small.repository, {file: gguf, "another.Q8_0.gguf": gguf})
    publish(cache, large.repository, t5)
    found = listed()
    assert sorted(found) == ["flan-t5-small", f"tinyllama:{small.quantization}", "tinyllama:Q8_0"]
    assert found["tinyllama:Q8_0"].license == small.license
    for name in ("tinyllama", small.repository, f"hf.co/{small.repository}", *small.aliases):
        assert store.resolve(name).path.name == file, name
    assert store.resolve("TinyLlama:Q8_0") == found["tinyllama:Q8_0"]
    assert store.resolve(f"{small.repository}:Q8_0") == found["tinyllama:Q8_0"]
    assert store.resolve("FLAN-T5-small") == found["flan-t5-small"]


def test_what_could_be_fetched_is_said(cache: Path) -> None:
    for name in ("tinyllama", "owner/name:Q8_0"):
        with pytest.raises(ModelNotFound) as caught:
            store.resolve(name)
        assert caught.value.hint == f"To fetch it, type: %model_pull {name}"


# Several stores


def test_the_first_place_of_a_name_wins(
    cache: Path, tmp_path: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = catalog.find("tinyllama")
    assert small
    shared, private = tmp_path / "shared", tmp_path / "private"
    monkeypatch.setenv("LLMSPELL_MODELS_SHARED", str(shared))
    file = {"tinyllama.Q8_0.gguf": gguf}
    publish(shared, small.repository, file)
    publish(shared, REPOSITORY, file)
    assert {info.store for info in listed().values()} == {"shared"}
    publish(cache, small.repository, file)
    assert {model_id: info.store for model_id, info in listed().items()} == {
        "tinyllama:Q8_0": "hub",
        "owner/name:Q8_0": "shared",
    }
    publish(private, small.repository, file)
    lookup = Lookup(caches=(str(private),))
    assert store.resolve("tinyllama", lookup).path.is_relative_to(private)
    assert {info.store for info in listed(lookup).values()} == {"hub", "shared"}
    folder = tmp_path / "own" / "tinyllama:Q8_0"
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(gguf)
    lookup = Lookup(folders=(str(folder.parent),))
    assert store.resolve("tinyllama", lookup).path == folder / "model.gguf"


def test_a_name_goes_on_meaning_what_it_meant(cache: Path, gguf: bytes) -> None:
    """What is pulled or found elsewhere later makes no older name ambiguous."""
    for model in catalog.models().values():
        if model.name.startswith("smollm2:") and model.format == "GGUF":
            publish(cache, model.repository, {"a.Q8_0.gguf": gguf, "b.Q4_K_M.gguf": gguf})
    assert store.resolve("smollm2").bundled
    assert store.choose(spec.parse("smollm2"), store.installed()).bundled


def test_a_store_that_is_reached_through_a_link(
    cache: Path, tmp_path: Path, t5: dict[str, bytes]
) -> None:
    publish(tmp_path / "elsewhere", REPOSITORY, t5)
    cache.symlink_to(tmp_path / "elsewhere")
    assert store.resolve(REPOSITORY).architecture == "t5"


def test_reading_needs_neither_a_network_nor_the_library(cache: Path, gguf: bytes) -> None:
    publish(cache, REPOSITORY, {"m-Q8_0.gguf": gguf})
    code = """
import socket, sys
def never(*_):
    raise AssertionError("a socket was opened")
socket.socket.connect = socket.getaddrinfo = never
from llmspell_jupyter.models import store
print([info.id for info in store.installed() if info.store == "hub"], store.resolve("owner/name").id)
print({"huggingface_hub", "urllib3", "httpx", "ollama", "torch"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['owner/name:Q8_0'] owner/name:Q8_0", "set()"]


def test_what_the_hubs_own_library_fetched_is_found(
    cache: Path, gguf: bytes, t5: dict[str, bytes]
) -> None:
    import huggingface_hub

    with hub_server.hub() as hub:
        hub.add("owner/gguf", {"deep/m-Q8_0.gguf": gguf, "m-Q4_0.gguf": gguf})
        hub.add("owner/t5", t5)
        huggingface_hub.hf_hub_download(
            "owner/gguf", "deep/m-Q8_0.gguf", endpoint=hub.url, cache_dir=cache
        )
        huggingface_hub.snapshot_download("owner/t5", endpoint=hub.url, cache_dir=cache)
    found = listed()
    assert sorted(found) == ["owner/gguf:Q8_0", "owner/t5"]
    assert {info.architecture for info in found.values()} == {"llama", "t5"}
    assert all(len(info.revision or "") == 40 for info in found.values())
