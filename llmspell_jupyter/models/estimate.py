"""How much memory a model will take, before it is loaded: from the headers of its files alone."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from llmspell_jupyter.models import gguf_need, gguf_reader, gguf_work, safetensors_need
from llmspell_jupyter.models.folder import inspect_folder
from llmspell_jupyter.models.gguf_work import Work
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import LoadOptions, ModelInfo

# A worker that holds no model took 23 MB (Linux, CPython 3.11).
_PYTHON = 30_000_000


def estimate(model: ModelInfo, options: LoadOptions, backend: str) -> Need:
    """The memory that a model takes at most, with all of its context in use.

    It is computed as for a CPU. What a library copies out of a mapped file into a form of its own
    is counted once: the system takes the file's pages back when it needs them. The need never
    shrinks as ``context_size``, ``batch_size`` or ``max_concurrent`` grow.

    Args:
        model: The model, as the store resolved it.
        options: How it would be loaded.
        backend: Name of the backend that would run it.

    Raises:
        BadModelFile: Its files have been damaged since it was resolved.
        OSError: Its file has gone.
    """
    if model.format == "GGUF":
        shape = _gguf_shape(model.path, model.size_bytes, model.path.stat().st_mtime_ns)
        return gguf_need.need(shape, model.size_bytes, options)
    if model.format == "safetensors":
        return safetensors_need.need(inspect_folder(model.path), options, backend)
    return Need(weights=0, context=0, working=_PYTHON)


def work(model: ModelInfo) -> Work | None:
    """What a GGUF model computes for each token; None when its kinds of weights are not known.

    Raises:
        BadModelFile: As ``estimate``.
        OSError: As ``estimate``.
    """
    return _gguf_work(model.path, model.size_bytes, model.path.stat().st_mtime_ns)


# Size and time are part of the key: a file that has changed is read again.
@lru_cache(maxsize=64)
def _gguf_shape(path: Path, size_bytes: int, modified_ns: int) -> gguf_need.Shape:
    return gguf_need.read_shape(gguf_reader.walk(path))


@lru_cache(maxsize=64)
def _gguf_work(path: Path, size_bytes: int, modified_ns: int) -> Work | None:
    walk = gguf_reader.walk(path)
    return gguf_work.of_header(walk, gguf_need.read_shape(walk), size_bytes)
