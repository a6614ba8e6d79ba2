"""What environment variables may say, and that no other module reads one."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import llmspell_jupyter
from llmspell_jupyter.config import environment, paths
from llmspell_jupyter.errors import ConfigError

PACKAGE = Path(llmspell_jupyter.__file__).parent


@pytest.mark.parametrize(
    ("read", "variable", "text", "value"),
    [
        (environment.idle_seconds, "LLMSPELL_ENGINE_IDLE_SECONDS", None, 1800),
        (environment.idle_seconds, "LLMSPELL_ENGINE_IDLE_SECONDS", "0", 0),
        (environment.idle_seconds, "LLMSPELL_ENGINE_IDLE_SECONDS", " 1.5 ", 1.5),
        (environment.queue_limit, "LLMSPELL_ENGINE_QUEUE_LIMIT", None, 64),
        (environment.queue_limit, "LLMSPELL_ENGINE_QUEUE_LIMIT", "1", 1),
        (environment.transport, "LLMSPELL_ENGINE_TRANSPORT", "TCP", "tcp"),
        (
            environment.transport,
            "LLMSPELL_ENGINE_TRANSPORT",
            "",
            "tcp" if os.name == "nt" else "unix",
        ),
        (environment.model_path, "LLMSPELL_MODEL_PATH", None, ()),
        (environment.model_path, "LLMSPELL_MODEL_PATH", os.pathsep, ()),
        (environment.model_path, "LLMSPELL_MODEL_PATH", f"a{os.pathsep}b", (Path("a"), Path("b"))),
        (environment.model_path, "LLMSPELL_MODEL_PATH", "~/m", (Path.home() / "m",)),
        (environment.owner_pid, "JPY_PARENT_PID", "4711", 4711),
    ],
)
def test_values(
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[], Any],
    variable: str,
    text: str | None,
    value: Any,
) -> None:
    if text is None:
        monkeypatch.delenv(variable, raising=False)
    else:
        monkeypatch.setenv(variable, text)
    assert read() == value


@pytest.mark.parametrize(
    ("read", "variable", "text"),
    [
        *(
            (environment.idle_seconds, "LLMSPELL_ENGINE_IDLE_SECONDS", text)
            for text in ("-1", "nan", "inf", "soon", "1e999")
        ),
        *(
            (environment.queue_limit, "LLMSPELL_ENGINE_QUEUE_LIMIT", text)
            for text in ("0", "-1", "1.5", "many", "9" * 10_000)
        ),
        (environment.transport, "LLMSPELL_ENGINE_TRANSPORT", "pigeon"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], Any], variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigError) as caught:
        read()
    error = caught.value
    assert error.message.startswith(f"{variable}: ") and "it can be" in error.message
    assert len(error.message) < 250 and error.data["place"] == variable


@pytest.mark.parametrize("text", ["", "0", "1", "-5", "x", "\u0663"])
def test_without_a_jupyter_server_a_program_is_its_own_owner(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("JPY_PARENT_PID", text)
    assert environment.owner_pid() == os.getpid()


def test_model_folders_come_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMSPELL_MODEL_PATH", str(tmp_path / "mine"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert paths.model_folders() == (
        tmp_path / "mine",
        tmp_path / "data" / "llmspell" / "models",
        tmp_path / "home" / ".llmspell" / "models" / "candle",
    )


def test_all_files_of_the_engine_lie_in_the_runtime_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runtime = tmp_path / "a" / "runtime"
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    files = [
        paths.connection_file(),
        paths.engine_log(),
        paths.engine_lock(),
        paths.engine_start_lock(),
    ]
    assert len(set(files)) == 4 and {file.parent for file in files} == {runtime}
    if os.name != "nt":
        assert runtime.stat().st_mode & 0o777 == 0o700


MODULES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "config" / "environment.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_reads_a_variable(path: Path) -> None:
    # Handing the whole environment on to a child, or setting a variable, is not reading one.
    reads = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("os.getenv", "os.environ.get", "os.environ.pop")
        )
        or (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and ast.unparse(node.value) == "os.environ"
        )
    ]
    assert reads == []
