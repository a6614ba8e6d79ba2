"""The command: what it prints, and with which exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from llmspell_jupyter.cli.common import plain_errors
from llmspell_jupyter.config import profiles
from llmspell_jupyter.errors import RequestError
from tests.support.engines import jupyter_llmspell, runtime_folder, started


def _run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmspell_jupyter.cli", *arguments],
        cwd=folder,
        env=os.environ | {"HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _good(folder: Path, *arguments: str, **environment: str) -> str:
    done = _run(folder, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_lists_every_profile(tmp_path: Path) -> None:
    text = _good(tmp_path, "--help")
    for name in [*profiles.names(), *profiles.ALIASES]:
        assert name in text
    assert "-p, --profile NAME" in text


def test_show_explain_and_precedence(tmp_path: Path) -> None:
    section = tomllib.loads(_good(tmp_path, "-p", "rag-prod", "config", "show", "rag.embedding"))
    assert section["rag"]["embedding"]["batch_size"] == 32
    variable = {"LLMSPELL_RAG_EMBEDDING_BATCH_SIZE": "7"}
    text = _good(tmp_path, "config", "explain", "rag.embedding.batch_size", **variable)
    assert text.startswith("rag.embedding.batch_size = 7\n")
    facts = json.loads(
        _good(
            tmp_path,
            "--output",
            "json",
            "config",
            "explain",
            "rag.embedding.batch_size",
            **variable,
        )
    )
    assert facts["value"] == 7
    assert facts["set_by"] == "environment LLMSPELL_RAG_EMBEDDING_BATCH_SIZE"


def test_a_file_to_start_from(tmp_path: Path) -> None:
    assert "llmspell.toml is written" in _good(tmp_path, "config", "init")
    assert "llmspell.toml is valid." in _good(tmp_path, "config", "validate", "llmspell.toml")
    again = _run(tmp_path, "config", "init")
    assert again.returncode == 1
    assert "--force" in again.stderr
    _good(tmp_path, "-p", "minimal", "config", "init", "--force")
    assert "minimal" in _good(tmp_path, "config", "explain", "default_engine")


def test_the_schema_is_for_editors(tmp_path: Path) -> None:
    schema = json.loads(_good(tmp_path, "config", "schema"))
    assert schema["$schema"].startswith("http://json-schema.org/")
    assert "rag" in schema["properties"]


def test_profiles_as_text_and_as_json(tmp_path: Path) -> None:
    assert "rag-production, rag-prod" in _good(tmp_path, "config", "list-profiles")
    listed = json.loads(_good(tmp_path, "--output", "json", "config", "list-profiles"))
    assert {each["name"] for each in listed} == set(profiles.names())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-p", "wizard", "config", "show"), "Available profiles"),
        (("-p", "candle", "-c", "x.toml", "config", "show"), "cannot be used together"),
        (("config", "explain", "rag.embeding.batch"), "rag.embedding.batch_size"),
        (("config", "show", "ragg"), "rag"),
        (("config", "validate", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_mistakes_are_one_message(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = _run(tmp_path, *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_engine_status_as_json(tmp_path: Path) -> None:
    done = _run(tmp_path, "--output", "json", "engine", "status", JUPYTER_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"running": False}


HOSTILE = "\x1b[2J\x9b\u202e\x08" + "x" * 3_000_000


def test_what_an_error_says_does_nothing_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """O4: it may come from a model or a server."""
    with pytest.raises(SystemExit), plain_errors():
        raise RequestError(f"said: {HOSTILE}", hint=f"First line.\nSecond: {HOSTILE}")
    said = capsys.readouterr().err
    assert "RequestError: said: \\x1b[2J\\x9b\\u202e\\x08xxx" in said
    assert "\nFirst line.\nSecond: \\x1b[2J" in said
    assert all(each.isprintable() or each == "\n" for each in said) and len(said) < 100_000


def test_the_log_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    """O4: libraries write into it what model files say."""
    (tmp_path / "llmspell-engine.log").write_text(f"first\nsaid: {HOSTILE}\nlast\n", "utf-8")
    shown = _good(tmp_path, "engine", "logs", JUPYTER_RUNTIME_DIR=str(tmp_path))
    first, said, last, end = shown.split("\n")
    assert (first, last, end) == ("first", "last", "")
    assert said.startswith("said: \\x1b[2J\\x9b\\u202e\\x08")
    assert said.isprintable() and len(said) < 10_000


def test_models_are_listed_loaded_and_unloaded() -> None:
    with runtime_folder() as environment:
        lonely = jupyter_llmspell(environment, "model", "load", "echo")
        assert lonely.returncode == 1 and "engine serve" in lonely.stderr
        with started(environment):
            listed = jupyter_llmspell(environment, "model", "list").stdout.splitlines()
            assert "smollm2:135m" in listed
            loaded = jupyter_llmspell(environment, "--output", "json", "model", "load", "echo")
            assert json.loads(loaded.stdout)["device"] == "cpu"
            unloaded = jupyter_llmspell(environment, "--output", "json", "model", "unload", "echo")
            assert json.loads(unloaded.stdout) == {"unloaded": 1}
            again = jupyter_llmspell(environment, "model", "unload", "echo")
            assert again.stdout == "echo is not loaded.\n"
            wrong = jupyter_llmspell(environment, "model", "load", "smolm2")
            assert wrong.returncode == 1 and "smollm2:135m" in wrong.stderr
            assert "Traceback" not in wrong.stderr
