"""Reading the header of a GGUF file, without any native code and within bounds.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmspell_jupyter.errors import BadModelFile

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)

# Far above what real models have, far below what would make a reader of a hostile file work or
# allocate for long.
_MOST_PAIRS = 10_000
_MOST_TENSORS = 100_000
_LONGEST_KEY = 1_000
_LONGEST_TEXT = 4_000_000
_MOST_ITEMS = 4_000_000
_LARGEST_HEADER = 64 * 1024 * 1024

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"}
_SCALARS |= {10: "Q", 11: "q", 12: "d"}

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
        parameter_count: Sum over all tensors.
        context_length: Tokens; None when absent.
        metadata: Every scalar and text of the header; arrays are left out.
    """

    architecture: str
    quantization: str | None
    parameter_count: int
    context_length: int | None
    metadata: Mapping[str, Any]


def read_gguf(path: Path) -> GgufHeader:
    """Read a GGUF header.

    Raises:
        BadModelFile: The file is not GGUF, or its header is damaged; the message says where.
        OSError: The file cannot be opened.
    """
    # Not memory-mapped: touching a page of a file that somebody is cutting ends the process.
    with path.open("rb") as file:
        reader = _Reader(path, file)
        metadata = reader.metadata()
        parameters = reader.tensors()
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise _bad(path, "it does not say its architecture (general.architecture)")
    context = metadata.get(f"{architecture}.context_length")
    return GgufHeader(
        architecture=architecture,
        quantization=_file_type(metadata.get("general.file_type")),
        parameter_count=parameters,
        context_length=context if isinstance(context, int) and context > 0 else None,
        metadata=metadata,
    )


def _file_type(number: object) -> str | None:
    if not isinstance(number, int) or not 0 <= number < len(_FILE_TYPES):
        return None
    name = _FILE_TYPES[number]
    return None if name == "-" else name


class _Reader:
    """A cursor over the file that never moves past its end."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path = path
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._at = 0
        if not self._size:
            raise _bad(path, "it is empty")
        if self._size < len(_MAGIC) or self._take(len(_MAGIC)) != _MAGIC:
            raise _bad(path, "it does not begin with 'GGUF'")
        version = self._scalar("I")
        if version not in _VERSIONS:
            raise _bad(path, f"its GGUF version is {version}; versions 2 and 3 are known")
        self._tensor_count = self._count("tensors", _MOST_TENSORS)
        self._pair_count = self._count("metadata entries", _MOST_PAIRS)

    def metadata(self) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for _ in range(self._pair_count):
            key = self._text("a metadata key", _LONGEST_KEY)
            kind = self._scalar("I")
            if key in pairs:
                raise _bad(self._path, f"metadata key {key!r} stands twice")
            if kind == _ARRAY:
                self._skip_array(key)
            else:
                pairs[key] = self._value(key, kind)
        return pairs

    def tensors(self) -> int:
        total = 0
        for _ in range(self._tensor_count):
            name = self._text("a tensor name", _LONGEST_KEY)
            dimensions = self._scalar("I")
            if dimensions > 8:
                raise _bad(self._path, f"tensor {name!r} claims {dimensions} dimensions")
            size = 1
            for _ in range(dimensions):
                size *= self._scalar("Q")
            self._scalar("I")
            if self._scalar("Q") >= self._size:
                raise _bad(self._path, f"tensor {name!r} would lie past the end; it is cut short")
            total += size
        return total

    def _value(self, key: str, kind: int) -> Any:
        if kind == _STRING:
            return self._text(f"the value of {key!r}", _LONGEST_TEXT)
        code = _SCALARS.get(kind)
        if code is None:
            raise _bad(self._path, f"metadata key {key!r} has the unknown type {kind}")
        return self._scalar(code)

    def _skip_array(self, key: str) -> None:
        kind = self._scalar("I")
        count = self._count(f"items in {key!r}", _MOST_ITEMS)
        if kind == _STRING:
            for _ in range(count):
                self._skip(self._length(f"an item of {key!r}", _LONGEST_TEXT))
        elif kind in _SCALARS:
            self._skip(count * struct.calcsize("<" + _SCALARS[kind]))
        else:
            raise _bad(self._path, f"metadata key {key!r} is a list of the unknown type {kind}")

    def _text(self, what: str, longest: int) -> str:
        return self._take(self._length(what, longest)).decode("utf-8", "replace")

    def _length(self, what: str, longest: int) -> int:
        size: int = self._scalar("Q")
        if size > longest:
            raise _bad(self._path, f"{what} claims {size} bytes")
        return size

    def _count(self, what: str, most: int) -> int:
        count: int = self._scalar("Q")
        if count > most:
            raise _bad(self._path, f"it claims {count} {what}")
        return count

    def _scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))[0]

    def _take(self, size: int) -> bytes:
        self._advance(size)
        data = self._file.read(size)
        if len(data) != size:
            raise _bad(self._path, "it is being changed by another program")
        return data

    def _skip(self, size: int) -> None:
        self._advance(size)
        self._file.seek(size, os.SEEK_CUR)

    def _advance(self, size: int) -> None:
        self._at += size
        if self._at > self._size:
            raise _bad(self._path, f"it ends at byte {self._size}, inside its header")
        if self._at > _LARGEST_HEADER:
            raise _bad(self._path, f"its header is longer than {_LARGEST_HEADER} bytes")


def _bad(path: Path, cause: str) -> BadModelFile:
    return BadModelFile(
        f"{path.name} cannot be read as a model: {cause}.",
        hint="Fetch or copy the file again; %model_list shows the models that can be used.",
        data={"path": str(path), "cause": cause},
    )
