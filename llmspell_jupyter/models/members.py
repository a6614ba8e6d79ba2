"""Reading small files of a model folder: bounded, and never outside the folder."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from llmspell_jupyter.models import shared_blobs
from llmspell_jupyter.models.problems import bad_file, cannot_open

_MEGABYTE = 1024 * 1024


def member(folder: Path, name: str) -> Path | None:
    """A regular file of a model folder; None when there is none of this name.

    Raises:
        BadModelFile: The name or a link leads out of the folder, or it is no regular file.
    """
    parts = Path(name)
    if parts.is_absolute() or ".." in parts.parts or not name.isprintable() or len(name) > 255:
        raise bad_file(folder, f"it names a file {name[:80]!r}")
    path = folder / name
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        raise bad_file(folder, f"{name} cannot be opened: {error}") from None
    if not _is_of(folder, real):
        raise bad_file(folder, f"{name} leads out of the folder, to {real}")
    if not stat.S_ISREG(mode):
        raise bad_file(folder, f"{name} is not a regular file")
    return path


def _is_of(folder: Path, file: Path) -> bool:
    """Whether a file, once links are followed, is one that a model folder may have."""
    home = folder.resolve()
    if file.is_relative_to(home):
        return True
    # The Hugging Face cache: snapshots/REVISION holds links into blobs, some of which are links
    # into what all repositories of the cache share.
    if home.parent.name != "snapshots":
        return False
    repository = home.parent.parent
    return file.is_relative_to(repository / "blobs") or shared_blobs.holds(repository.parent, file)


def read_json(folder: Path, name: str, *, most: int = _MEGABYTE) -> dict[str, Any] | None:
    """A JSON file of a model folder; None when there is none of this name.

    Args:
        folder: The model folder.
        name: Path of the file in it, with forward slashes.
        most: Longest file that is looked at, in bytes.

    Raises:
        BadModelFile: It is too long, damaged, no table, holds a key twice, or a link leads out
            of the folder.
    """
    path = member(folder, name)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise cannot_open(path, error) from None
    if len(data) > most:
        raise bad_file(path, f"it is longer than {most:,} bytes")
    return parse_table(path, data)


def parse_table(path: Path, data: bytes) -> dict[str, Any]:
    """A JSON table; ``path`` names the file in errors.

    Raises:
        BadModelFile: It is damaged, no table, holds a key twice, or is nested too deep.
    """
    try:
        table = json.loads(data.decode(), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        cause = "it is nested too deep" if deep else str(error).rstrip(".")
        raise bad_file(path, f"it is not sound JSON: {cause}") from None
    if not isinstance(table, dict):
        raise bad_file(path, "it holds no table")
    return table


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {double[:80]!r} stands twice")
    return table
