"""``jupyter llmspell model``: what it fetches, prints and leaves, against a real hub and engine."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import hub_server, tiny_gguf
from tests.support.engines import (
    PATIENCE,
    jupyter_llmspell,
    python,
    runtime_folder,
    started,
    wait_for,
)

REPOSITORY = "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF"
MIB = 1024**2
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


def test_a_locked_pull_takes_its_options(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return jupyter_llmspell(environment, "model", *arguments)

    monkeypatch.chdir(tmp_path)
    assert run("pull", "tinyllama:Q4_K_M@candle").returncode == 0
    assert run("lock", "tinyllama").returncode == 0
    (blob,) = Path(environment["HF_HOME"]).rglob("blobs/*")
    before = blob.stat().st_ino
    again = run("pull", "--locked", "--force")
    assert again.returncode == 0 and "All models are those" in again.stdout, again.stderr
    assert blob.stat().st_ino != before
    refused = run("pull", "--locked", "--revision", "main")
    assert refused.returncode == 2 and "--locked" in refused.stderr
    assert run("remove", "tinyllama").returncode == 0


def test_ctrl_c_cancels_the_pull_and_says_how_to_go_on(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).standard_normal(2 * MIB).astype(np.float32)
    weights = tiny_gguf.write_tiny_gguf(
        tmp_path / "tiny.gguf", change=lambda writer: writer.add_tensor("extra.weight", numbers)
    )
    places = {"HF_HOME": str(tmp_path / "hf"), "OLLAMA_MODELS": str(tmp_path / "ollama")}
    line = ("model", "pull", "tinyllama:Q4_K_M@candle")
    with (
        hub_server.hub() as hub,
        runtime_folder(**{**hub.environment, **places}) as environment,
        started(environment) as running,
    ):
        hub.add(REPOSITORY, {FILE: Path(weights)})
        hub.fault(f"{REPOSITORY}/{FILE}", "drip", bytes_per_second=200_000)
        with python(environment, "-m", "llmspell_jupyter.cli", *line) as command:
            wait_for(lambda: any(each["progress"]["done"] > MIB for each in running.jobs()))
            told = jupyter_llmspell(environment, "engine", "status").stdout.splitlines()[-1]
            assert re.search(r"tinyllama:Q4_K_M, downloading, \d+ %, [\d.]+ MB of [\d.]+ MB$", told)
            command.send_signal(signal.SIGINT)
            output, errors = command.communicate(timeout=PATIENCE)
        assert (command.returncode, output) == (130, "")
        assert f"The same line goes on: jupyter llmspell {' '.join(line)}" in errors
        assert "Traceback" not in errors
        wait_for(lambda: not running.jobs())
        hub.mend()
        served = hub.bytes_served
        done = jupyter_llmspell(environment, *line)
        assert done.returncode == 0, done.stderr
        assert "Next, in a notebook: Agent.builder()" in done.stdout
        assert hub.bytes_served - served < Path(weights).stat().st_size - MIB


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pull", "tinylama"), "tinyllama"),
        (("pull", "tinyllama", "--limit", "fast"), "20MB/s"),
        (("pull", "llama3@ollama"), "Backend 'ollama' not configured"),
        (("remove", "smollm2"), "installed package"),
        (("available", "metal"), "candle, ollama"),
        (("info", "wizard"), "not on this machine"),
        (("info", "tinyllama"), "type: jupyter llmspell model pull tinyllama"),
        (("pull", "llama3@ollama"), "jupyter llmspell -p ollama model pull llama3@ollama"),
        (("pull", "./x.gguf"), "jupyter llmspell model load ./x.gguf"),
        (("lock", "--check"), "Write one: jupyter llmspell model lock\n"),
        (("list", "--backend", "metal"), "candle, ollama"),
        (("list", "ollama"), "ollama serve"),
    ],
)
def test_mistakes(environment: dict[str, str], arguments: tuple[str, ...], says: str) -> None:
    done = jupyter_llmspell(environment, "model", *arguments)
    assert done.returncode == 1 and says in done.stderr
    assert "Traceback" not in done.stderr and not re.search(r"%[a-z]", done.stderr)


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (("-p", "minimal"), ""),
        (("-pminimal",), ""),
        (("--profile=minimal", "--output", "pretty"), "--output pretty "),
        (("--output=json", "--profile", "minimal"), "--output=json "),
        (("-c", "minimal.toml"), ""),
        (("--config=minimal.toml",), ""),
    ],
)
def test_the_hint_of_a_profile_can_be_typed(
    environment: dict[str, str], tmp_path: Path, before: tuple[str, ...], kept: str
) -> None:
    (tmp_path / "minimal.toml").write_text('extends = "minimal"\n')
    file = str(tmp_path / "minimal.toml")
    before = tuple(each.replace("minimal.toml", file) for each in before)
    line = ("model", "pull", "-q", "Q4_0", "llama3@ollama")
    done = jupyter_llmspell(environment, *before, *line)
    assert done.returncode == 1
    hinted = re.search(r"jupyter llmspell (-p ollama .*)", done.stderr)
    assert hinted and hinted[1] == f"-p ollama {kept}{' '.join(line)}", done.stderr
    again = jupyter_llmspell(environment, *hinted[1].split())
    assert "not configured" not in again.stderr and "cannot be used together" not in again.stderr
