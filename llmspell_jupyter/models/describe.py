"""Models on disk in a few facts, read once for each state of their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import gguf_names, inspect
from llmspell_jupyter.models.folder import UNSAFE_ENDINGS, inspect_folder
from llmspell_jupyter.models.problems import bad_file, cannot_open
from llmspell_jupyter.types import ModelInfo, StoreKind

#: Endings of files that hold weights, safe ones or not.
WEIGHTS = UNSAFE_ENDINGS | {".safetensors"}

# What model families call the longest text that they were trained for.
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")

# One entry for each file or folder: its size, and when it was last changed.
State = tuple[tuple[str, int, int], ...]


def is_gguf(path: Path) -> bool:
    """Whether a path is a GGUF model by its name, and not a later part of one."""
    part = gguf_names.part(path.name)
    return gguf_names.is_model(path.name) and (not part or part.number == 1) and path.is_file()


def is_model_folder(path: Path) -> bool:
    """Whether a path is a folder of ``config.json`` and weights, safe ones or not."""
    return (path / "config.json").is_file() and any(
        each.suffix.lower() in WEIGHTS for each in path.iterdir()
    )


def parts(path: Path) -> tuple[Path, ...]:
    """All files of a GGUF model, the first first, by any of them; they need not be there."""
    return tuple(map(path.with_name, gguf_names.parts(path.name)))


def model(
    model_id: str,
    path: Path,
    *,
    store: StoreKind = "folder",
    repository: str | None = None,
    revision: str | None = None,
    license: str | None = None,
    listed: bool = False,
) -> ModelInfo:
    """The facts of a GGUF file or of a folder of safetensors.

    What is damaged, unsafe or not whole has no architecture; ``explain`` says why.

    Args:
        model_id: Its id.
        path: The file, the first of its files, or the folder.
        store: Where it lies.
        repository: Where it came from.
        revision: Commit of the repository.
        license: Its licence, where the file does not say.
        listed: Its store has it in a list: without its file it is not whole.

    Raises:
        OSError: It has gone.
    """
    is_folder = path.is_dir()
    if is_folder:
        files: Iterable[Path] = (
            each for each in sorted(path.iterdir()) if each.suffix.lower() in {".json", *WEIGHTS}
        )
    else:
        files = parts(path)
    state = _state(files)
    if not state and not listed:
        path.lstat()
    facts = _read_folder(path, state) if is_folder else _read_file(path, state)
    return ModelInfo(
        id=model_id,
        backend="candle",
        path=path,
        format="safetensors" if is_folder else "GGUF",
        size_bytes=facts.size_bytes or sum(size for _, size, _ in state),
        modified_at=max((time for _, _, time in state), default=0) // 1_000_000_000,
        architecture=facts.architecture,
        quantization=facts.quantization,
        parameter_count=facts.parameter_count,
        context_length=facts.context_length,
        store=store,
        repository=repository,
        revision=revision,
        license=facts.license or license,
    )


def explain(path: Path) -> None:
    """Raise what is wrong with a model that has no architecture.

    Raises:
        BadModelFile: It is damaged or not whole, or cannot be opened.
        UnsafeFormat: Loading it could run code.
    """
    try:
        if path.is_dir():
            inspect_folder(path)
            return
        if cause := _lack(path):
            raise bad_file(path, cause)
        inspect.read_gguf(path)
    except OSError as error:
        raise cannot_open(path, error) from None


def _lack(path: Path) -> str:
    missing = [each.name for each in parts(path) if not each.exists()]
    if len(missing) < 2:
        return f"{missing[0]} is missing" if missing else ""
    return f"{missing[0]} and {len(missing) - 1} more of its files are missing"


def _state(files: Iterable[Path]) -> State:
    state = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue  # A link to nothing is for the reader to name.
        state.append((file.name, stat.st_size, stat.st_mtime_ns))
    return tuple(state)


def _context_length(config: Mapping[str, Any]) -> int | None:
    values = (config.get(key) for key in _CONTEXT_KEYS)
    return next((value for value in values if type(value) is int and value > 0), None)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What files say of themselves; nothing when they cannot be used."""

    architecture: str | None = None
    quantization: str | None = None
    parameter_count: int | None = None
    context_length: int | None = None
    license: str | None = None
    size_bytes: int = 0


# The state is part of the key: what has changed is read again.


@lru_cache(maxsize=4096)
def _read_file(path: Path, state: State) -> _Facts:
    try:
        if len(state) < len(parts(path)):
            return _Facts()
        header = inspect.read_gguf(path)
    except (BadModelFile, OSError):
        return _Facts()
    license = header.metadata.get("general.license")
    return _Facts(
        architecture=header.architecture,
        quantization=header.quantization,
        parameter_count=header.parameter_count,
        context_length=header.context_length,
        license=license.strip().lower()[:80] or None if isinstance(license, str) else None,
    )


@lru_cache(maxsize=4096)
def _read_folder(path: Path, state: State) -> _Facts:
    try:
        found = inspect_folder(path)
    except (BadModelFile, OSError):
        return _Facts()
    return _Facts(
        architecture=found.model_type,
        quantization=found.dtype,
        parameter_count=found.parameter_count,
        context_length=_context_length(found.config),
        size_bytes=found.size_bytes,
    )
