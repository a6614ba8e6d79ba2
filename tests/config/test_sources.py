"""Where models come from, as the variables of Hugging Face and Ollama say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspell_jupyter.config import environment

NAMES = ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "XDG_CACHE_HOME")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*NAMES, "OLLAMA_MODELS", "OLLAMA_HOST", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_store_is_the_cache_of_hugging_face(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert environment.hub_caches() == (tmp_path / ".cache" / "huggingface" / "hub",)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert environment.hub_caches() == (Path("/x/huggingface/hub"),)
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert environment.hub_caches() == (tmp_path / "hf" / "hub",)
    monkeypatch.setenv("HF_HUB_CACHE", "/c")
    assert environment.hub_caches() == (Path("/c"),)
    monkeypatch.setenv("LLMSPELL_MODELS_HUB_CACHE", "/own")
    monkeypatch.setenv("LLMSPELL_MODELS_SHARED", "/s:/own:/t")
    assert environment.hub_caches() == (Path("/own"), Path("/s"), Path("/t"))


def test_the_token_is_that_of_the_variable_or_of_a_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert environment.sources().token is None
    saved = tmp_path / ".cache" / "huggingface" / "token"
    saved.parent.mkdir(parents=True)
    saved.write_text("hf_saved\n")
    assert environment.sources().token == "hf_saved"
    for name in ("HFHUB_API_KEY", "HF_TOKEN", "LLMSPELL_MODELS_HUB_TOKEN"):
        monkeypatch.setenv(name, f" {name} ")
        assert environment.sources().token == name


def test_a_mirror_and_a_switch_for_offline_work(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = environment.sources()
    assert (usual.endpoint, usual.offline) == ("https://huggingface.co", False)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.test/")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = environment.sources()
    assert (found.endpoint, found.offline) == ("https://mirror.test", True)


def test_ollama_is_where_its_variables_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert environment.sources().ollama_url == "http://127.0.0.1:11434"
    assert environment.ollama_store() == tmp_path / ".ollama" / "models"
    monkeypatch.setenv("OLLAMA_HOST", "gpu:9")
    monkeypatch.setenv("OLLAMA_MODELS", "/o")
    assert environment.sources().ollama_url == "http://gpu:9"
    assert environment.sources("http://other:1/").ollama_url == "http://other:1"
    assert environment.ollama_store() == Path("/o")


def test_proxies_are_those_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.proxy("http://hub.test/x") is None
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "near.test")
    assert environment.proxy("http://hub.test/x") == "http://proxy:3128"
    assert environment.proxy("http://near.test/x") is None
