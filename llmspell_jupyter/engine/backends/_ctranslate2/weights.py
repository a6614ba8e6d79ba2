"""Tensors of safetensors files as numbers, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models.safetensors import TensorInfo

_KINDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}

# Numbers read at a time: 16 MB of 32 bits each.
_BLOCK = 4 * 1024 * 1024


def blocks(tensor: TensorInfo) -> Iterator[Any]:
    """A tensor as arrays of 32-bit floats, each of whole rows, in order.

    Args:
        tensor: One of at least one dimension, held as F32, F16 or BF16.

    Raises:
        BadModelFile: Its file was cut short since it was checked.
    """
    rows, *rest = tensor.shape
    width = tensor.size // rows
    height = max(1, _BLOCK // width)
    # Not memory-mapped: touching a page of a file that somebody is cutting ends the process.
    with tensor.shard.open("rb") as file:
        file.seek(tensor.begin)
        for row in range(0, rows, height):
            count = min(height, rows - row)
            numbers = np.fromfile(file, _KINDS[tensor.dtype], count * width)
            if numbers.size != count * width:
                raise BadModelFile(
                    f"{tensor.shard.name} cannot be loaded: another program is changing it.",
                    hint="Run the cell again when that is done.",
                    data={"path": str(tensor.shard)},
                )
            yield _as_float32(numbers, tensor.dtype).reshape(count, *rest)


def whole(tensor: TensorInfo) -> Any:
    """A tensor as one array of 32-bit floats; raises as ``blocks``."""
    return np.concatenate(list(blocks(tensor)))


def _as_float32(numbers: Any, dtype: str) -> Any:
    if dtype == "BF16":
        # The upper half of a 32-bit float.
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32, copy=False)
