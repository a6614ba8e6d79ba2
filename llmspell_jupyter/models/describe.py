"""Models on disk in a few facts, read once for each state of their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import inspect
from llmspell_jupyter.models.folder import UNSAFE_ENDINGS, ModelFolder, inspect_folder
from llmspell_jupyter.models.problems import cannot_open
from llmspell_jupyter.types import ModelInfo, StoreKind

# Parts of one model: llama.cpp opens the first and finds the others.
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

_WEIGHTS = UNSAFE_ENDINGS | {".safetensors"}

# What model families call the longest text that they were trained for.
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")

# One entry for each file or folder: its size, and when it was last changed.
State = tuple[tuple[str, int, int], ...]


def is_gguf(path: Path) -> bool:
    """Whether a path is a GGUF file by its name, and not a later part of one."""
    part = _PART.fullmatch(path.name)
    return path.suffix == ".gguf" and (not part or int(part["number"]) == 1) and path.is_file()


def is_model_folder(path: Path) -> bool:
    """Whether a path is a folder of ``config.json`` and weights, safe ones or not."""
    return (path / "config.json").is_file() and any(
        each.suffix.lower() in _WEIGHTS for each in path.iterdir()
    )


def model(model_id: str, path: Path, *, store: StoreKind = "folder") -> ModelInfo:
    """The facts of a GGUF file or of a folder of safetensors.

    What is damaged or unsafe has no architecture; ``explain`` says why.

    Raises:
        OSError: It has gone.
    """
    return (_folder if path.is_dir() else _gguf)(model_id, path, store)


def _gguf(model_id: str, path: Path, store: StoreKind) -> ModelInfo:
    part = _PART.fullmatch(path.name)
    files = [path]
    if part:
        files = sorted(path.parent.glob(f"{_literal(part['stem'])}-?????-of-{part['count']}.gguf"))
    state = _state(files)
    header = _checked_header(path, state)
    return ModelInfo(
        id=model_id,
        backend="candle",
        path=path,
        format="GGUF",
        size_bytes=sum(size for _, size, _ in state),
        modified_at=int(path.stat().st_mtime),
        architecture=header.architecture if header else None,
        quantization=header.quantization if header else None,
        parameter_count=header.parameter_count if header else None,
        context_length=header.context_length if header else None,
        store=store,
    )


def _folder(model_id: str, path: Path, store: StoreKind) -> ModelInfo:
    files = [each for each in sorted(path.iterdir()) if each.suffix in {".json", *_WEIGHTS}]
    state = _state(files)
    found = _checked_folder(path, state)
    return ModelInfo(
        id=model_id,
        backend="candle",
        path=path,
        format="safetensors",
        size_bytes=found.size_bytes if found else sum(size for _, size, _ in state),
        modified_at=max((time for _, _, time in state), default=0) // 1_000_000_000,
        architecture=found.model_type if found else None,
        quantization=found.dtype if found else None,
        parameter_count=found.parameter_count if found else None,
        context_length=_context_length(found.config) if found else None,
        store=store,
    )


def explain(path: Path) -> None:
    """Raise what is wrong with a model that has no architecture.

    Raises:
        BadModelFile: It is damaged, or cannot be opened.
        UnsafeFormat: Loading it could run code.
    """
    try:
        if path.is_dir():
            inspect_folder(path)
        else:
            inspect.read_gguf(path)
    except OSError as error:
        raise cannot_open(path, error) from None


def _state(files: list[Path]) -> State:
    state = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue  # A link to nothing is for the reader to name.
        state.append((file.name, stat.st_size, stat.st_mtime_ns))
    return tuple(state)


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


def _context_length(config: Mapping[str, Any]) -> int | None:
    values = (config.get(key) for key in _CONTEXT_KEYS)
    return next((value for value in values if type(value) is int and value > 0), None)


# The state is part of the key: what has changed is read again.


@lru_cache(maxsize=512)
def _checked_header(path: Path, state: State) -> inspect.GgufHeader | None:
    try:
        return inspect.read_gguf(path)
    except (BadModelFile, OSError):
        return None


@lru_cache(maxsize=512)
def _checked_folder(path: Path, state: State) -> ModelFolder | None:
    try:
        return inspect_folder(path)
    except (BadModelFile, OSError):
        return None
