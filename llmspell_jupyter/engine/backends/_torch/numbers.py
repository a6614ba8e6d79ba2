"""Types of numbers: what a model is computed in, and how that is called."""

from __future__ import annotations

from typing import Any

from llmspell_jupyter.engine.backends._torch.library import torch
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import DType


def number_type(wanted: DType, device: Any, *, half: str) -> Any:
    """The type of torch in which a model is computed.

    Args:
        wanted: As the options say; ``auto`` is float32 on a CPU and ``half`` elsewhere.
        device: torch's device.
        half: The type of 16 bits that suits the model.

    Raises:
        RequestError: It is ``int8``, which torch does not compute with.
    """
    lib = torch()
    if wanted == "int8":
        raise RequestError(
            "dtype int8 is not available for this model: torch computes with floating-point "
            "numbers.",
            hint="Leave dtype out, or use bfloat16, which takes half the memory of float32.",
            data={"field": "dtype", "value": wanted},
        )
    if wanted != "auto":
        return getattr(lib, wanted)
    if device.type == "cpu":
        return lib.float32
    if device.type == "cuda" and not lib.cuda.is_bf16_supported():
        return lib.float16
    return getattr(lib, half)


def quantization(kind: Any) -> str:
    """What metadata calls a type of numbers, such as ``F32`` or ``BF16``."""
    return str(kind).rpartition(".")[2].replace("bfloat", "BF").replace("float", "F")
