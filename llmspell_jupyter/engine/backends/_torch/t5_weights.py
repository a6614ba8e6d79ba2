"""The weights of a T5 model: memory-mapped from safetensors, converted as the device wants."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from llmspell_jupyter.engine.backend import LoadProgress
from llmspell_jupyter.engine.backends._t5 import tensors
from llmspell_jupyter.engine.backends._torch.library import install_line, torch
from llmspell_jupyter.engine.backends._torch.linear import Columns, Dense, Int8, Linear
from llmspell_jupyter.errors import BackendMissing, BadModelFile
from llmspell_jupyter.models.folder import ModelFolder
from llmspell_jupyter.types import DType

#: What ``DType`` names, as metadata shows it.
SHOWN = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "int8": "INT8"}


class Weights:
    """Tensors of a checked folder, taken one after the other; to be left as a context.

    Args:
        folder: The model.
        dtype: How matrices are held; not ``auto``. With ``int8`` that is so in the decoder, and
            the rest is ``float32``.
        device: Where, as torch names it.
        progress: Told what share was taken.
    """

    def __init__(self, folder: ModelFolder, dtype: DType, device: Any, progress: LoadProgress):
        lib = torch()
        self._folder = folder
        self._device = device
        self._int8 = dtype == "int8"
        #: How vectors are held between the matrices.
        self.dtype = lib.float32 if self._int8 else getattr(lib, dtype)
        #: How the sum of all layers is held. Half the range of float16 is too little for it.
        self.residual = lib.float32 if dtype == "float16" else self.dtype
        self._progress = progress
        self._taken = 0
        self._total = sum(each.size for each in folder.tensors.values())
        self._done: set[str] = set()
        self._files = contextlib.ExitStack()
        open_file = _safe_open()
        try:
            self._open = {
                shard: self._files.enter_context(open_file(shard, framework="pt"))
                for shard in folder.shards
            }
        except Exception as error:  # The library raises an error type of its own.
            self._files.close()
            raise BadModelFile(
                f"{folder.path.name} cannot be loaded: {error}.",
                hint="Fetch or copy the model again.",
                data={"path": str(folder.path), "cause": str(error)},
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.close()

    def vector(self, name: str) -> Any:
        """A tensor as it is, in the number format of vectors."""
        return self._take(name).to(self._device, self.dtype)

    def embedding(self, name: str) -> Any:
        """A matrix of which rows are looked up."""
        return self.vector(name)

    def linear(self, *names: str, quantized: bool = False) -> Linear:
        """A matrix, or several below each other; ``quantized`` where int8 is for this one."""
        parts = [self._take(name) for name in names]
        matrix = parts[0] if len(parts) == 1 else torch().cat(parts)
        if quantized and self._int8:
            return Int8(matrix)
        return Dense(matrix.to(self._device, self.dtype))

    def head(self, name: str) -> Linear:
        """The matrix with a row for each token."""
        if self.dtype == torch().float32 and self._device.type == "cpu" and not self._int8:
            return Columns(self._take(name).to(self.dtype))
        return self.linear(name, quantized=True)

    def wide(self, name: str, *, quantized: bool = False) -> Linear:
        """A matrix whose results can leave the range of float16."""
        if self.dtype == torch().float16:
            return Dense(self._take(name).to(self._device, self.residual))
        return self.linear(name, quantized=quantized)

    def _take(self, name: str) -> Any:
        tensor = self._open[self._folder.tensors[name].shard].get_tensor(name)
        if name not in self._done:
            self._done.add(name)
            self._taken += tensor.numel()
            self._progress(self._taken / self._total)
        return tensor


def _safe_open() -> Callable[..., Any]:
    try:
        opener: Callable[..., Any] = importlib.import_module("safetensors").safe_open
    except (ImportError, OSError) as error:
        raise BackendMissing(
            f"safetensors, which reads this model's weights, cannot be imported: {error}",
            hint=f"Type in a terminal: {install_line()}",
            data={"install": install_line()},
        ) from error
    return opener


def shapes(folder: ModelFolder) -> tuple[str, str, str]:
    """Names of the tensors that embed what is read, embed what is written, and give logits."""
    names = folder.tensors
    return tensors.encoder_embedding(names), tensors.decoder_embedding(names), tensors.head(names)
