"""Walking the header of a GGUF file, without any native code and within bounds.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from llmspell_jupyter.models.problems import bad_file

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)

# Far above what real models have, far below what would make a reader of a hostile file work or
# allocate for long.
_MOST_PAIRS = 10_000
_MOST_TENSORS = 100_000
_MOST_TEXTS = 1_200_000
_MOST_ITEMS = 4_000_000
_LONGEST_KEY = 1_000
_LONGEST_TEXT = 4_000_000
_LARGEST_HEADER = 64 * 1024 * 1024
_MOST_DIMENSIONS = 4
_MOST_SHOWN = 60

# A list of numbers this short is kept: one number for each layer.
_SHORT_LIST = 4_096

_READ = 1024 * 1024

STRING, ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"}
_SCALARS |= {10: "Q", 11: "q", 12: "d"}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Items:
    """A list in the metadata.

    Attributes:
        kind: Number of the type of its items.
        count: How many there are.
        values: All of them, texts as bytes, if they were wanted or are few numbers; else None.
    """

    kind: int
    count: int
    values: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: its lengths, the fastest first, the number of its type, its place in the data."""

    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class Walk:
    """All of a header.

    Attributes:
        scalars: Every number, truth value and text of the metadata.
        lists: Every list of it.
        tensors: By name.
        end: Byte at which the header ends.
        size: Bytes of the file.
    """

    scalars: Mapping[str, Any]
    lists: Mapping[str, Items]
    tensors: Mapping[str, Tensor]
    end: int
    size: int

    @property
    def parameter_count(self) -> int:
        """Sum over all tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())


def walk(path: Path, *, keep: frozenset[str] = frozenset()) -> Walk:
    """Read a GGUF header from end to end.

    Args:
        path: The file.
        keep: Keys of lists whose items are wanted.

    Raises:
        BadModelFile: The file is not GGUF, or its header is damaged; the message says where.
        OSError: The file cannot be opened.
    """
    # Not memory-mapped: touching a page of a file that somebody is cutting ends the process.
    with path.open("rb", buffering=0) as file:
        return walk_source(path, file, os.fstat(file.fileno()).st_size, keep=keep)


class Source(Protocol):
    """What can be read from any byte on."""

    def seek(self, at: int, /) -> Any:
        """Go on at this byte."""

    def read(self, size: int, /) -> bytes | None:
        """So many bytes at most; none at its end."""


def walk_source(
    path: Path, source: Source, size: int, *, keep: frozenset[str] = frozenset()
) -> Walk:
    """Read a GGUF header from wherever it lies, a megabyte at a time.

    Args:
        path: What it is called in errors.
        source: The bytes of the file.
        size: How many there are in all.
        keep: Keys of lists whose items are wanted.

    Raises:
        BadModelFile: As ``walk``.
    """
    reader = _Reader(path, source, size, keep)
    reader.read_metadata()
    reader.read_tensors()
    return Walk(reader.scalars, reader.lists, reader.tensors, reader.at, reader.size)


class _Reader:
    """A cursor over the file that never moves past its end; reads a megabyte at a time."""

    def __init__(self, path: Path, file: Source, size: int, keep: frozenset[str]):
        self.scalars: dict[str, Any] = {}
        self.lists: dict[str, Items] = {}
        self.tensors: dict[str, Tensor] = {}
        self.size = size
        self._path = path
        self._file = file
        self._keep = keep
        self._text_count = 0
        # The window of the file that is in memory, where it begins, and the cursor in it.
        self._data = b""
        self._begin = 0
        self._at = 0
        if not self.size:
            raise bad_file(path, "it is empty")
        if self.size < len(_MAGIC) or self._take(len(_MAGIC)) != _MAGIC:
            raise bad_file(path, "it does not begin with 'GGUF'")
        version = self._u32()
        if version not in _VERSIONS:
            raise bad_file(path, f"its GGUF version is {version}; versions 2 and 3 are known")
        self._tensor_count = self._count("tensors", _MOST_TENSORS)
        self._pair_count = self._count("metadata entries", _MOST_PAIRS)

    @property
    def at(self) -> int:
        """Byte of the file at which the cursor stands."""
        return self._begin + self._at

    def read_metadata(self) -> None:
        for _ in range(self._pair_count):
            key = self._text("a metadata key", _LONGEST_KEY)
            kind = self._u32()
            if key in self.scalars or key in self.lists:
                raise bad_file(self._path, f"metadata key {key[:_MOST_SHOWN]!r} stands twice")
            if kind == ARRAY:
                self.lists[key] = self._list(key)
            elif kind == STRING:
                self.scalars[key] = self._text(f"the value of {key!r}", _LONGEST_TEXT)
            else:
                self.scalars[key] = self._numbers(key, kind, 1)[0]

    def read_tensors(self) -> None:
        for _ in range(self._tensor_count):
            name = self._text("a tensor name", _LONGEST_KEY)
            shown = name[:_MOST_SHOWN]
            if name in self.tensors:
                raise bad_file(self._path, f"tensor {shown!r} stands twice")
            dimensions = self._u32()
            if dimensions > _MOST_DIMENSIONS:
                raise bad_file(self._path, f"tensor {shown!r} claims {dimensions} dimensions")
            form = struct.Struct(f"<{dimensions}QIQ")
            *shape, kind, offset = form.unpack(self._take(form.size))
            if offset >= self.size or math.prod(shape) > 16 * self.size:
                raise bad_file(
                    self._path, f"tensor {shown!r} would lie past the end; it is cut short"
                )
            self.tensors[name] = Tensor(tuple(shape), kind, offset)

    def _list(self, key: str) -> Items:
        kind = self._u32()
        count = self._count(f"items in {key[:_MOST_SHOWN]!r}", _MOST_ITEMS)
        if kind == STRING:
            self._text_count += count
            if self._text_count > _MOST_TEXTS:
                raise bad_file(self._path, f"it claims {self._text_count} texts in lists")
            return Items(kind, count, self._list_of_texts(key, count))
        if count <= _SHORT_LIST or key in self._keep:
            return Items(kind, count, self._numbers(key, kind, count))
        self._skip(count * self._form(key, kind, 1).size)
        return Items(kind, count)

    def _list_of_texts(self, key: str, count: int) -> tuple[bytes, ...] | None:
        """Walk over texts; of all the header this takes the longest, a vocabulary being long."""
        keep = key in self._keep
        found: list[bytes] = []
        unpack = _U64.unpack_from
        done = 0
        while done < count:
            self._fill(8)
            data, at = self._data, self._at
            last = len(data) - 8
            for _ in range(count - done):
                if at > last:
                    break
                begin = at + 8
                end = begin + unpack(data, at)[0]
                if end > len(data):
                    break
                if keep:
                    found.append(data[begin:end])
                at = end
                done += 1
            moved, self._at = at - self._at, at
            if not moved:
                text = self._take(self._length(f"an item of {key[:_MOST_SHOWN]!r}", _LONGEST_TEXT))
                found += [text] if keep else []
                done += 1
        self._check_place()
        return tuple(found) if keep else None

    def _numbers(self, key: str, kind: int, count: int) -> tuple[Any, ...]:
        form = self._form(key, kind, count)
        return form.unpack(self._take(form.size))

    def _form(self, key: str, kind: int, count: int) -> struct.Struct:
        code = _SCALARS.get(kind)
        if code is None:
            raise bad_file(
                self._path, f"metadata key {key[:_MOST_SHOWN]!r} has the unknown type {kind}"
            )
        return struct.Struct(f"<{count}{code}")

    def _text(self, what: str, longest: int) -> str:
        return self._take(self._length(what, longest)).decode("utf-8", "replace")

    def _length(self, what: str, longest: int) -> int:
        size: int = _U64.unpack(self._take(8))[0]
        if size > longest:
            raise bad_file(self._path, f"{what} claims {size} bytes")
        return size

    def _count(self, what: str, most: int) -> int:
        count: int = _U64.unpack(self._take(8))[0]
        if count > most:
            raise bad_file(self._path, f"it claims {count} {what}")
        return count

    def _u32(self) -> int:
        value: int = _U32.unpack(self._take(4))[0]
        return value

    def _take(self, size: int) -> bytes:
        self._fill(size)
        data = self._data[self._at : self._at + size]
        self._at += size
        return data

    def _skip(self, size: int) -> None:
        self._at += size
        self._check_place()

    def _fill(self, size: int) -> None:
        """Have so many bytes in the window behind the cursor."""
        if self._at + size <= len(self._data):
            return
        self._check_place(size)
        begin = self.at
        self._file.seek(begin)
        data = b""
        while len(data) < size:
            more = self._file.read(max(size - len(data), _READ))
            if not more:
                raise bad_file(self._path, "it is being changed by another program")
            data += more
        self._data, self._begin, self._at = data, begin, 0

    def _check_place(self, ahead: int = 0) -> None:
        if self.at + ahead > self.size:
            raise bad_file(self._path, f"it ends at byte {self.size}, inside its header")
        if self.at + ahead > _LARGEST_HEADER:
            raise bad_file(self._path, f"its header is longer than {_LARGEST_HEADER} bytes")
