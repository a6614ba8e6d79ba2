"""What a GGUF file says of itself, without any native code and within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspell_jupyter.models import gguf_check, gguf_reader

# llama.cpp's `llama_ftype`, as `general.file_type` stores it; "-" is a withdrawn type.
_FILE_TYPES = (
    *("F32", "F16", "Q4_0", "Q4_1", "-", "-", "-", "Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S"),
    *("Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS"),
    *("Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M"),
    *("IQ4_XS", "IQ1_M", "BF16", "-", "-", "-", "TQ1_0", "TQ2_0"),
)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself.

    Attributes:
        architecture: ``general.architecture``, such as ``llama``.
        quantization: From ``general.file_type``; None when absent or unknown.
        parameter_count: Sum over all tensors; None when they lie in several files.
        context_length: Tokens; None when absent.
        metadata: Every scalar and text of the header; arrays are left out.
    """

    architecture: str
    quantization: str | None
    parameter_count: int | None
    context_length: int | None
    metadata: Mapping[str, Any]


def read_gguf(path: Path) -> GgufHeader:
    """Read a GGUF header, and look for what llama.cpp would stumble over.

    Raises:
        BadModelFile: The file is not GGUF, or its header is damaged or contradicts itself; the
            message says where or how.
        OSError: The file cannot be opened.
    """
    walk = gguf_reader.walk(path, keep=gguf_check.NEEDED)
    architecture = gguf_check.check(path, walk)
    context = walk.scalars.get(f"{architecture}.context_length")
    parts = walk.scalars.get("split.count", 1)
    return GgufHeader(
        architecture=architecture,
        quantization=_file_type(walk.scalars.get("general.file_type")),
        parameter_count=walk.parameter_count if parts <= 1 else None,
        context_length=context if isinstance(context, int) and context > 0 else None,
        metadata=walk.scalars,
    )


def _file_type(number: object) -> str | None:
    if not isinstance(number, int) or not 0 <= number < len(_FILE_TYPES):
        return None
    name = _FILE_TYPES[number]
    return None if name == "-" else name
