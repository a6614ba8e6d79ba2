"""Reading the headers of safetensors files, and the index of a model in several of them.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspell_jupyter.models.members import member, parse_table, read_json
from llmspell_jupyter.models.problems import bad_file, cannot_open

#: Says which shard holds which tensor.
INDEX = "model.safetensors.index.json"

# Room for 70,000 tensors; the largest shards of today have some thousands.
_LARGEST_HEADER = 8 * 1024 * 1024
_LARGEST_INDEX = 16 * 1024 * 1024
_MOST_SHARDS = 1_000
_MOST_DIMENSIONS = 8
_LONGEST_NAME = 1_000

_METADATA = "__metadata__"

#: Bits of one number of each kind.
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8}
_BITS |= {"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16}
_BITS |= {"I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64}
_BITS |= {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor in a safetensors file.

    Attributes:
        dtype: Kind of its numbers, such as ``F32``.
        shape: Its lengths.
        shard: The file that holds it.
        begin: Where in that file its first byte is.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: Path
    begin: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def read_shard(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file, by name.

    Raises:
        BadModelFile: It is not a safetensors file, or is damaged or cut short.
    """
    try:
        # Not memory-mapped: touching a page of a file that somebody is cutting ends the process.
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= size - 8:
                raise bad_file(path, _no_header(size, start, length))
            if length > _LARGEST_HEADER:
                raise bad_file(path, f"its header is longer than {_LARGEST_HEADER:,} bytes")
            header = file.read(length)
    except OSError as error:
        raise cannot_open(path, error) from None
    if len(header) != length:
        raise bad_file(path, "it is being changed by another program")
    if not header.startswith(b"{"):
        raise bad_file(path, "its header does not begin with '{'; it is not a safetensors file")
    table = parse_table(path, header)
    _check_metadata(path, table.pop(_METADATA, None))
    return _tensors(path, table, 8 + length, size)


def read_index(folder: Path) -> tuple[tuple[Path, ...], dict[str, TensorInfo]]:
    """The shards of a model, and its tensors by name.

    Raises:
        BadModelFile: The index or a shard is damaged, a shard is missing, does not hold what
            the index says, or lies outside the folder.
    """
    index = read_json(folder, INDEX, most=_LARGEST_INDEX) or {}
    path = folder / INDEX
    claims = index.get("weight_map")
    if not isinstance(claims, dict) or not claims:
        raise bad_file(path, "it has no weight_map")
    names = sorted(set(_shard_names(path, claims)))
    if len(names) > _MOST_SHARDS:
        raise bad_file(path, f"it names {len(names)} files")
    contents = {name: read_shard(_shard(folder, name)) for name in names}
    tensors = {}
    for tensor, name in claims.items():
        if tensor not in contents[name]:
            raise bad_file(path, f"{name} does not hold {tensor[:80]!r}, which it should")
        tensors[tensor] = contents[name][tensor]
    return tuple(folder / name for name in names), tensors


def _no_header(size: int, start: bytes, length: int) -> str:
    if size < 10 or len(start) < 8:
        return "it is empty" if not size else f"it has only {size} bytes"
    return f"its header claims {length} bytes of {size}; it is cut short or no safetensors file"


def _check_metadata(path: Path, metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or any(not isinstance(v, str) for v in metadata.values()):
        raise bad_file(path, f"{_METADATA} is not a table of texts")


def _tensors(path: Path, table: dict[str, Any], start: int, size: int) -> dict[str, TensorInfo]:
    room = size - start
    tensors = {}
    places = []
    for name, entry in table.items():
        if len(name) > _LONGEST_NAME:
            raise bad_file(path, f"a tensor's name has {len(name)} characters")
        tensor, begin, end = _tensor(path, name, entry, start)
        tensors[name] = tensor
        places.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(places):
        if begin != at:
            what = "overlaps another one" if begin < at else "leaves a hole before it"
            raise bad_file(path, f"tensor {name[:80]!r} {what}")
        at = end
    if at != room:
        what = "it is cut short" if at > room else "there is something behind its last tensor"
        raise bad_file(path, f"its tensors take {at} bytes of {room}; {what}")
    return tensors


def _tensor(path: Path, name: str, entry: Any, start: int) -> tuple[TensorInfo, int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise bad_file(path, f"tensor {name[:80]!r} is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise bad_file(path, f"tensor {name[:80]!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not _counts(shape) or len(shape) > _MOST_DIMENSIONS:
        raise bad_file(path, f"tensor {name[:80]!r} has the shape {shape!r:.80}")
    if not _counts(offsets) or len(offsets) != 2:
        raise bad_file(path, f"tensor {name[:80]!r} has the offsets {offsets!r:.80}")
    begin, end = offsets
    tensor = TensorInfo(dtype, tuple(shape), path, start + begin)
    if (end - begin) * 8 != tensor.size * _BITS[dtype]:
        raise bad_file(
            path, f"tensor {name[:80]!r} of shape {shape} and {dtype} takes {end - begin} bytes"
        )
    return tensor, begin, end


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**63 for value in values
    )


def _shard_names(path: Path, claims: dict[str, Any]) -> Iterator[str]:
    for tensor, name in claims.items():
        # A plain file name: member() then finds it in the folder itself.
        if (
            not isinstance(name, str)
            or not name.endswith(".safetensors")
            or any(mark in name for mark in "/\\:\0")
        ):
            raise bad_file(path, f"tensor {tensor[:80]!r} is said to lie in {str(name)[:80]!r}")
        yield name


def _shard(folder: Path, name: str) -> Path:
    shard = member(folder, name)
    if shard is None:
        raise bad_file(folder / INDEX, f"{name[:80]} is missing")
    return shard
