"""What a partial file holds, written beside it so that a kill at any moment loses little.

A line that says which file it is, then fixed records ``start, end, checksum``. Records are only
added; one that was cut short or is damaged ends the reading, and what is behind it is fetched
again. The bytes of a record are written before the record.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from llmspell_jupyter.models.pull.ranges import Ranges

_VERSION = 1
_RECORD = struct.Struct("<QQI")
_LONGEST_LINE = 8192
_MOST_RECORDS = 4_000_000


@dataclass(frozen=True, slots=True)
class Header:
    """Which file a partial one will be.

    Attributes:
        blob: Its name in the store.
        path: Its name in the repository.
        size: In bytes.
        etag: What the server that sent it calls it; empty while unknown.
    """

    blob: str
    path: str
    size: int
    etag: str = ""
    version: int = _VERSION


def read(path: Path) -> tuple[Header, Ranges] | None:
    """What a journal says; None when it is absent, damaged at its head or not to be read."""
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST_LINE)
            records = file.read(_RECORD.size * _MOST_RECORDS)
        values = json.loads(line)
        header = Header(**values)
        size = header.size
        if header.version != _VERSION or type(size) is not int or not line.endswith(b"\n"):
            return None
    except (OSError, ValueError, TypeError):
        return None
    there = Ranges()
    whole = len(records) // _RECORD.size * _RECORD.size
    for start, end, check in _RECORD.iter_unpack(records[:whole]):
        if check != _check(start, end) or not start < end <= size:
            break
        there.add(start, end)
    return header, there


class Journal:
    """The journal of a partial file that this process writes.

    Args:
        path: Where it lies.
        header: Which file it is of.
        there: What is there already; the journal is written anew, and shorter.
    """

    def __init__(self, path: Path, header: Header, there: Ranges):
        self.header = header
        fresh = path.with_name(f"{path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.fdopen(os.open(fresh, flags, 0o600), "wb", buffering=0)
        try:
            line = json.dumps(asdict(header)).encode() + b"\n"
            self._file.write(line + b"".join(_record(start, end) for start, end in there))
            fresh.replace(path)
        except BaseException:
            self._file.close()
            raise

    def note(self, start: int, end: int) -> None:
        """These bytes are on disk."""
        self._file.write(_record(start, end))

    def close(self) -> None:
        """Write no more."""
        self._file.close()


def _record(start: int, end: int) -> bytes:
    return _RECORD.pack(start, end, _check(start, end))


def _check(start: int, end: int) -> int:
    # A record of zeros, which a file system may leave after a power loss, is none.
    return zlib.crc32(struct.pack("<QQ", start, end), 0x6C6C6D)
