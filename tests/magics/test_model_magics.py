"""Finding, pulling, checking, locking and removing models from a cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hub_server, tiny_gguf
from tests.support.engines import runtime_folder
from tests.support.kernels import Notebook, notebook

REPOSITORY = "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF"
FILE = "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"
ID = "tinyllama:Q4_K_M"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def book(folder: Path) -> Iterator[Notebook]:
    weights = tiny_gguf.write_tiny_gguf(folder / "tiny.gguf")
    places = {"HF_HOME": str(folder / "hf"), "OLLAMA_MODELS": str(folder / "ollama")}
    with hub_server.hub() as hub, runtime_folder(**{**hub.environment, **places}) as environment:
        hub.add(REPOSITORY, {FILE: Path(weights)})
        with notebook(**environment) as made:
            made.good(f"%cd -q {folder}")
            yield made


def test_a_lock_restores_what_was_removed(book: Notebook, folder: Path) -> None:
    assert f"{ID} is ready: " in book.good("%model_pull tinyllama:Q4_K_M@candle").stdout
    assert ID in book.good("%model_list").stdout
    assert REPOSITORY in book.good("%model_info tinyllama").stdout
    assert f"{ID} is whole" in book.good("%model_verify tinyllama").stdout
    book.good("%model_lock tinyllama")
    written = (folder / "llmspell.lock").read_bytes()
    book.good("%model_lock tinyllama")
    assert (folder / "llmspell.lock").read_bytes() == written
    assert "All models are those" in book.good("%model_lock --check").stdout
    assert "is removed" in book.good("%model_remove tinyllama").stdout
    differs = book.run("%model_lock --check")
    assert differs.error == "LockDiffers" and "not on this machine" in differs.traceback
    assert "All models are those" in book.good("%model_pull --locked").stdout
    assert "Nothing lies about" in book.good("%model_gc --dry-run").stdout


def test_a_path_with_a_space(book: Notebook, folder: Path) -> None:
    weights = folder / "my models" / "tiny.gguf"
    weights.parent.mkdir()
    weights.symlink_to(folder / "tiny.gguf")
    assert "llama" in book.good(f'%model_info "{weights}"').stdout
    book.good(f"where = {str(weights)!r}")
    assert "llama" in book.good("%model_info '{where}'").stdout


def test_what_a_locked_pull_was_told_to_mend_is_mended(book: Notebook, folder: Path) -> None:
    (blob,) = (folder / "hf").rglob("blobs/*")
    data, before = blob.read_bytes(), blob.stat().st_ino
    book.good("%model_pull --locked")
    assert blob.stat().st_ino == before
    book.good("%model_pull tinyllama --locked --force")
    assert blob.stat().st_ino != before
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    differs = book.run("%model_lock --check")
    assert differs.error == "LockDiffers" and "%model_pull --locked" in differs.traceback
    assert "All models are those" in book.good("%model_pull --locked").stdout
    assert blob.read_bytes() == data


def test_a_locked_pull_that_cannot_mend_it_does_not_ask_for_itself(
    book: Notebook, folder: Path
) -> None:
    written = folder / "llmspell.lock"
    text = written.read_text()
    lock = json.loads(text)
    lock["models"][ID]["quantization"] = "Q8_0"
    written.write_text(json.dumps(lock))
    differs = book.run("%model_pull --locked")
    written.write_text(text)
    assert differs.error == "LockDiffers" and "Q8_0 is locked" in differs.traceback
    assert "%model_lock" in differs.traceback and "%model_pull" not in differs.traceback


def test_scripts_pull_and_see_it(book: Notebook) -> None:
    source = f"""%%lua
local seen = {{}}
local r = LocalLLM.pull("{ID}@candle", function(p) seen[#seen + 1] = p.status end)
return r.status .. " " .. seen[#seen] .. " " .. LocalLLM.list("candle")[1].id"""
    assert book.value(source) == f"'complete complete {ID}'"
    assert book.value(f'%lua LocalLLM.info("{ID}").repository') == f"'{REPOSITORY}'"


def test_the_help_of_a_pull_says_where_models_are(book: Notebook) -> None:
    text = book.good("%model_pull -h").stdout
    assert "%model_available" in text[text.index("EXAMPLES") :].splitlines()[1]
    assert "https://ollama.com/library" in text
    assert "https://huggingface.co/models?pipeline_tag=text-generation" in text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%model_pull", "%model_available"),
        ("%model_pull tinylama", "tinyllama"),
        ("%model_pull tinyllama --limit fast", "20MB/s"),
        ("%model_pull tinyllama --locked -q Q8_0", "%model_pull tinyllama --locked"),
        ("%model_pull llama3@ollama", "%llmspell_profile ollama"),
        ("%model_pull ./x.gguf", "%model_load ./x.gguf"),
        ("%model_info", "%model_list"),
        ("%model_remove smollm2", "installed package"),
        ('%lua LocalLLM.pull("a b")', "Invalid model spec 'a b': "),
        ('%lua LocalLLM.pull("tinylama")', "Failed to pull model: "),
    ],
)
def test_mistakes(book: Notebook, line: str, says: str) -> None:
    output = book.run(line)
    assert output.error is not None and says in output.traceback
    assert "Traceback" not in output.traceback
