"""What the names of GGUF files tell, on the hub and on this machine, whatever is in the files."""

from __future__ import annotations

import re
from dataclasses import dataclass

_GGUF = ".gguf"

# Parts of one model: llama.cpp opens the first and finds the others.
_PART = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.gguf)", re.IGNORECASE
)

# A name claims what it likes; the largest models of today have some tens.
_MOST_PARTS = 1_000

# Files that only serve a model: eyes and ears, statistics, words.
_BESIDE = re.compile(r"mmproj|imatrix|ggml-vocab", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a model that is divided into several.

    Attributes:
        stem: What the names of all have in common.
        number: Which one it is, from 1.
        count: How many there should be.
        ending: Their ending.
    """

    stem: str
    number: int
    count: int
    ending: str


def is_gguf(name: str) -> bool:
    """Whether a file is GGUF by its ending, in any case of letters."""
    return name.lower().endswith(_GGUF)


def is_model(name: str) -> bool:
    """Whether a file is a model, or a part of one; its folders do not count."""
    return is_gguf(name) and not _BESIDE.search(name.rpartition("/")[2])


def part(name: str) -> Part | None:
    """Which part of a model a file is; None for a whole one."""
    match = _PART.fullmatch(name)
    if match is None:
        return None
    return Part(match["stem"], int(match["number"]), int(match["count"]), match["ending"])


def parts(name: str) -> tuple[str, ...]:
    """The names of all files of a model, the first first, by any of them."""
    one = part(name)
    if one is None or not 1 <= one.number <= one.count <= _MOST_PARTS:
        return (name,)
    return tuple(
        f"{one.stem}-{number:05}-of-{one.count:05}{one.ending}"
        for number in range(1, one.count + 1)
    )
