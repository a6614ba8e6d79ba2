"""A folder of ``config.json`` and safetensors: what it holds, once it is known to be safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspell_jupyter.models import config_json, safetensors
from llmspell_jupyter.models.members import member, read_json
from llmspell_jupyter.models.problems import bad_file, cannot_open, unsafe
from llmspell_jupyter.models.safetensors import TensorInfo

#: Endings of files that hold weights as pickle or as code; loading one can run what is in it.
UNSAFE_ENDINGS = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack"})

_SINGLE = "model.safetensors"

# Positions and masks that some files carry are not weights.
_NOT_WEIGHTS = frozenset({"I64", "U64", "I32", "U32", "BOOL"})


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder whose ``config.json`` and safetensors headers were checked.

    Attributes:
        path: The folder.
        model_type: What ``config.json`` calls the model, such as ``t5``.
        config: ``config.json`` without what could name code; the only thing of it that a
            library may be handed.
        shards: Its weights files.
        tensors: Where each tensor lies, and its shape, by name.
        parameter_count: Number of weights.
        dtype: How most of them are held, as safetensors names it: ``F32``, ``BF16``, ``F16``.
        size_bytes: Size of the weights files.
    """

    path: Path
    model_type: str
    config: Mapping[str, Any]
    shards: tuple[Path, ...]
    tensors: Mapping[str, TensorInfo]
    parameter_count: int
    dtype: str
    size_bytes: int

    def file(self, name: str) -> Path | None:
        """A file of the folder, such as ``tokenizer.json``; None when there is none.

        Raises:
            BadModelFile: A link leads out of the folder, or it is no regular file.
        """
        return member(self.path, name)

    def json(self, name: str) -> dict[str, Any] | None:
        """A small JSON file of the folder, such as ``generation_config.json``; None when absent.

        Raises:
            BadModelFile: It is longer than a megabyte, damaged or no table.
        """
        return read_json(self.path, name)


def inspect_folder(path: Path) -> ModelFolder:
    """Look at a model folder without running or loading anything of it.

    Every back end calls this before it loads, and hands libraries nothing but what it returns.

    Args:
        path: The folder; ``config.json`` and ``model.safetensors`` (or
            ``model.safetensors.index.json`` with its shards, or one other safetensors file) are
            directly in it.

    Raises:
        BadModelFile: Something is missing or damaged; the message says what.
        UnsafeFormat: The weights are pickle only, or a JSON file names code.
    """
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise cannot_open(path, error) from None
    shards, tensors = _weights(path, names)
    config = config_json.read_config(path)
    by_dtype: Counter[str] = Counter()
    for tensor in tensors.values():
        by_dtype[tensor.dtype] += tensor.size
    weights = {name: size for name, size in by_dtype.items() if name not in _NOT_WEIGHTS}
    if not any(weights.values()):
        raise bad_file(path, "its safetensors files hold no weights")
    return ModelFolder(
        path=path,
        model_type=config["model_type"],
        config=config,
        shards=shards,
        tensors=tensors,
        parameter_count=sum(weights.values()),
        dtype=max(weights, key=lambda name: weights[name]),
        size_bytes=sum(shard.stat().st_size for shard in shards),
    )


def _weights(path: Path, names: list[str]) -> tuple[tuple[Path, ...], dict[str, TensorInfo]]:
    if _SINGLE in names:
        return _one(path, _SINGLE)
    if safetensors.INDEX in names:
        return safetensors.read_index(path)
    found = [name for name in names if name.endswith(".safetensors")]
    if len(found) == 1 and not found[0].startswith("adapter"):
        return _one(path, found[0])
    if len(found) > 1:
        raise bad_file(
            path,
            f"it holds {len(found)} safetensors files and no {safetensors.INDEX} to order them",
        )
    if found:
        raise bad_file(path, f"{found[0]} is an adapter; the model that it changes is not here")
    pickled = [name for name in names if Path(name).suffix.lower() in UNSAFE_ENDINGS]
    if pickled:
        raise unsafe(
            path,
            f"its weights are held as {pickled[0]}, and reading such a file can run code that is "
            "in it",
            "Take the same model as safetensors.",
        )
    raise bad_file(path, "it holds no safetensors file")


def _one(path: Path, name: str) -> tuple[tuple[Path, ...], dict[str, TensorInfo]]:
    shard = member(path, name)
    if shard is None:
        raise bad_file(path, f"{name} is a link to nothing")
    return (shard,), safetensors.read_shard(shard)
