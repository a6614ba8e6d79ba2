"""Stores of a test's own, and tiny models to put there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hub_cache import files_of
from tests.support.tiny_gguf import write_tiny_gguf
from tests.support.tiny_safetensors import write_tiny_folder


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model of one file."""
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a model that is a folder."""
    return files_of(write_tiny_folder(tmp_path_factory.mktemp("t5"), kind="t5"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own store; all that is found elsewhere is of the test, too."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "hub"
