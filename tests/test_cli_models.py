"""``jupyter llmspell model``: what it fetches, prints and leaves, against a real hub and engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hub_server, tiny_gguf
from tests.support.engines import jupyter_llmspell, runtime_folder

REPOSITORY = "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF"
FILE = "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"
LIBRARIES = (
    "https://ollama.com/library",
    "https://huggingface.co/models?pipeline_tag=text-generation",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("models")
    weights = tiny_gguf.write_tiny_gguf(folder / "tiny.gguf")
    places = {"HF_HOME": str(folder / "hf"), "OLLAMA_MODELS": str(folder / "ollama")}
    with hub_server.hub() as hub, runtime_folder(**{**hub.environment, **places}) as made:
        hub.add(REPOSITORY, {FILE: Path(weights)})
        yield made


def test_the_help_of_a_pull_says_where_models_are() -> None:
    with runtime_folder() as environment:
        text = jupyter_llmspell(environment, "model", "pull", "--help").stdout
    examples = text[text.index("EXAMPLES") :].splitlines()[1:5]
    assert "model available" in examples[0] and len(examples) == 4
    assert all(each in text for each in LIBRARIES)


def test_from_pull_to_removal(environment: dict[str, str]) -> None:
    def run(*arguments: str) -> object:
        done = jupyter_llmspell(environment, "--output", "json", "model", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    size = 0
    pulled = run("pull", "tinyllama:Q4_K_M@candle")
    assert isinstance(pulled, dict)
    size = pulled["bytes_total"]
    assert pulled == {
        "status": "success",
        "model_id": "tinyllama:Q4_K_M",
        "download_status": "complete",
        "percent_complete": 100,
        "bytes_downloaded": size,
        "bytes_total": size,
    }
    listed = run("list")
    assert isinstance(listed, dict) and listed["count"] == len(listed["models"])
    assert "tinyllama:Q4_K_M" in [each["id"] for each in listed["models"]]
    info = run("info", "tinyllama")
    assert isinstance(info, dict) and info["repository"] == REPOSITORY
    assert run("verify", "tinyllama") == {"status": "success", "model_id": "tinyllama:Q4_K_M"}
    removed = run("remove", "tinyllama")
    assert isinstance(removed, dict) and removed["bytes"] >= size


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pull", "tinylama"), "tinyllama"),
        (("pull", "tinyllama", "--limit", "fast"), "20MB/s"),
        (("pull", "llama3@ollama"), "Backend 'ollama' not configured"),
        (("remove", "smollm2"), "installed package"),
        (("available", "metal"), "candle, ollama"),
        (("info", "wizard"), "not on this machine"),
    ],
)
def test_mistakes(environment: dict[str, str], arguments: tuple[str, ...], says: str) -> None:
    done = jupyter_llmspell(environment, "model", *arguments)
    assert done.returncode == 1 and says in done.stderr
    assert "Traceback" not in done.stderr
