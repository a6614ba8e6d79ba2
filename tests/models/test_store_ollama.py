"""Ollama's files: found without copying them, and run by our own engine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import BadModelFile, ModelNotFound
from llmspell_jupyter.models import store
from llmspell_jupyter.types import Lookup, ModelInfo
from tests.support.engines import engine
from tests.support.hub_cache import publish

MODEL = "application/vnd.ollama.image.model"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return tmp_path / "ollama"


def layer(root: Path, data: bytes, kind: str = MODEL) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    path = root / "blobs" / f"sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}


def put(root: Path, name: str, *layers: dict[str, Any]) -> Path:
    """Write a manifest as Ollama does; ``name`` is its path below ``manifests``."""
    path = root / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    config = layer(
        root, b'{"model_format":"gguf"}', "application/vnd.docker.container.image.v1+json"
    )
    license = layer(root, b"Apache License", "application/vnd.ollama.image.license")
    manifest = {"schemaVersion": 2, "config": config, "layers": [*layers, license]}
    path.write_text(json.dumps(manifest))
    return path


def library(name: str) -> str:
    return f"registry.ollama.ai/library/{name}"


def listed(lookup: Lookup | None = None) -> dict[str, ModelInfo]:
    infos = store.installed(lookup=lookup or Lookup())
    return {info.id: info for info in infos if info.store == "ollama"}


def test_names_are_those_of_ollama(root: Path, gguf: bytes) -> None:
    model = layer(root, gguf)
    names = {
        library("tiny/1m"): "tiny:1m",
        library("tiny/latest"): "tiny:latest",
        "registry.ollama.ai/someone/theirs/latest": "someone/theirs:latest",
        "hf.co/owner/name-GGUF/Q8_0": "hf.co/owner/name-GGUF:Q8_0",
    }
    for name in names:
        put(root, name, model)
    found = listed()
    assert sorted(found) == sorted(names.values())
    info = found["tiny:1m"]
    assert info.path == root / "blobs" / model["digest"].replace(":", "-")
    assert (info.format, info.backend, info.architecture) == ("GGUF", "candle", "llama")
    assert info.size_bytes == len(gguf)
    assert found["hf.co/owner/name-GGUF:Q8_0"].repository == "owner/name-GGUF"
    for model_id in found:
        assert store.resolve(model_id) == found[model_id]
    assert store.resolve("tiny").id == "tiny:latest"
    assert store.resolve("TINY:1M").id == "tiny:1m"
    assert store.resolve("owner/name-GGUF:q8_0").id == "hf.co/owner/name-GGUF:Q8_0"


def test_the_folder_of_a_request_counts(root: Path, tmp_path: Path, gguf: bytes) -> None:
    own = tmp_path / "own"
    put(own, library("tiny/1m"), layer(own, gguf))
    assert listed() == {}
    assert list(listed(Lookup(ollama_store=str(own)))) == ["tiny:1m"]


def test_ollamas_server_is_not_this_engine(root: Path, gguf: bytes) -> None:
    put(root, library("tiny/1m"), layer(root, gguf))
    for name in ("tiny:1m@ollama", "ollama/tiny:1m", "smollm2:135m@ollama"):
        with pytest.raises(ModelNotFound, match="run by Ollama's server") as caught:
            store.resolve(name)
        assert "Leave @ollama out" in caught.value.hint
    assert store.resolve("tiny:1m@candle").store == "ollama"


def test_every_other_place_goes_first(
    root: Path, tmp_path: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("LLMSPELL_MODELS_SHARED", str(tmp_path / "shared"))
    put(root, "hf.co/owner/name/Q8_0", layer(root, gguf))
    put(root, library("smollm2/135m"), layer(root, gguf))
    assert store.resolve("owner/name:Q8_0").store == "ollama"
    assert store.resolve("smollm2:135m").store == "bundled"
    publish(tmp_path / "shared", "owner/name", {"m-Q8_0.gguf": gguf})
    assert store.resolve("owner/name:Q8_0").store == "shared"
    publish(tmp_path / "hub", "owner/name", {"m-Q8_0.gguf": gguf})
    assert store.resolve("owner/name:Q8_0").store == "hub"


def test_what_is_left_out(root: Path, gguf: bytes) -> None:
    adapter = layer(root, b"adapter", "application/vnd.ollama.image.adapter")
    put(root, library("adapted/latest"), layer(root, gguf), adapter)
    put(root, library("cloud/latest"))
    put(root, library("two/latest"), layer(root, gguf), layer(root, gguf + b" "))
    put(root, "registry.ollama.ai/library/deep/er/latest", layer(root, gguf))
    put(root, library("a name/latest"), layer(root, gguf))
    wrong = {"mediaType": MODEL, "digest": "sha256:../../../etc/passwd"}
    put(root, library("wrong/latest"), wrong)
    for text in (
        "",
        "[]",
        "{",
        '{"layers": 5}',
        '{"layers": [5, {}]}',
        "[" * 100_000,
        "x" * 2_000_000,
    ):
        path = put(root, library(f"broken{len(text)}/latest"))
        path.write_text(text)
    put(root, library(".hidden/latest"), layer(root, gguf))
    assert listed() == {}


def test_a_file_that_is_missing_or_damaged(root: Path, gguf: bytes) -> None:
    put(root, library("tiny/1m"), layer(root, gguf))
    path = listed()["tiny:1m"].path
    path.write_bytes(b"<html>")
    for says in ("does not begin with 'GGUF'", "is missing"):
        with pytest.raises(BadModelFile, match=says) as caught:
            store.resolve("tiny:1m")
        assert caught.value.hint == "In a terminal, type: ollama pull tiny:1m"
        path.unlink(missing_ok=True)


def test_it_runs_in_the_engine_and_nothing_is_copied(root: Path, gguf: bytes) -> None:
    put(root, library("tiny/1m"), layer(root, gguf))
    before = sorted(root.rglob("*"))
    with engine(OLLAMA_MODELS=str(root)) as running:
        answer = running.complete(model="tiny:1m", prompt="the sea", max_tokens=4)
        said = answer.json()
        assert answer.status_code == 200, said
        assert said["usage"]["completion_tokens"] > 0
        assert said["llmspell"]["metadata"]["engine_backend"] == "llama_cpp"
        ids = [each["id"] for each in running.http.get("/v1/models").json()["data"]]
        assert "tiny:1m" in ids
    assert sorted(root.rglob("*")) == before
