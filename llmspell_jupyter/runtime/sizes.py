"""Numbers of bytes as people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmspell_jupyter.errors import RequestError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmg]i?)?(b(?:/s|ps)?)?", re.IGNORECASE)


def size(count: int) -> str:
    """A number of bytes in powers of 1000: ``98.4 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def part_of(done: int, total: int | None) -> str:
    """How many bytes of how many: ``12.3 MB of 98.4 MB``."""
    return size(done) if total is None else f"{size(done)} of {size(total)}"


def rate(text: str) -> int:
    """Bytes per second of ``20MB/s``, ``500kB/s`` or ``1.5MiB/s``.

    Raises:
        RequestError: It is no such thing, or less than one.
    """
    match = _RATE.fullmatch(text.strip())
    found = int(float(match[1]) * _UNITS[(match[2] or "").lower()]) if match else 0
    if found < 1:
        raise RequestError(f"{text!r:.40} is no speed.", hint="Write it as 20MB/s or 500kB/s.")
    return found


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as columns, the first row on top."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
