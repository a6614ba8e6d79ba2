"""Reading configuration files: bounded, checked, every value with its line."""

from __future__ import annotations

import re
import stat
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmspell_jupyter.config import redaction, scan
from llmspell_jupyter.config.layers import Kind, Layer, Origin, flatten, problem
from llmspell_jupyter.errors import ConfigError

#: Largest file, in bytes; all keys with a comment each are half of it.
LARGEST = 32 * 1024

# Within this time after a write, another write may leave the file's time as it is.
_SETTLED_NS = 2_000_000_000
_KEPT = 64

_AT = re.compile(r" \((?:at line (\d+), column (\d+)|at end of document)\)$")

_cache: dict[tuple[object, ...], Layer] = {}


def read(path: Path, kind: Kind, name: str = "") -> Layer:
    """What a file says.

    Args:
        path: The file.
        kind: The layer that it is read for.
        name: Name of the profile that it is.

    Raises:
        ConfigError: It cannot be read, is not TOML, or a key or value in it is wrong; one line
            that begins with file and line.
    """
    origin = Origin(kind, name, path)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise problem(origin, "", "this is not a file.")
        if facts.st_size > LARGEST:
            size = f"{facts.st_size:,} bytes"
            raise problem(origin, "", f"it has {size}; no configuration has over {LARGEST:,}.")
        known = (path, kind, name, facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if found := _cache.get(known):
            return found
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except ConfigError:
        raise
    except OSError as error:
        raise problem(origin, "", f"cannot be read: {error.strerror or error}.") from None
    except ValueError:
        raise problem(origin, "", "is not a path.") from None
    layer = parse(content[:LARGEST], origin)
    if time.time_ns() - facts.st_mtime_ns > _SETTLED_NS:
        if len(_cache) >= _KEPT:
            _cache.clear()
        _cache[known] = layer
    return layer


def parse(content: bytes, origin: Origin) -> Layer:
    """What the content of a file says.

    Raises:
        ConfigError: As ``read``.
    """
    text = _decoded(content, origin)
    try:
        seen = scan.scan(text)
    except scan.Refused as error:
        raise _in_line(origin, error.line, f"{error.what}; no configuration has that.") from None
    table = _parsed(text[: seen.end], origin)

    def origin_of(path: tuple[str, ...]) -> Origin:
        return _at(origin, seen.line(path))

    extends = table.pop("extends", None)
    line = seen.line(("extends",))
    if extends is not None and not isinstance(extends, str):
        raise problem(
            _at(origin, line),
            "extends",
            f"extends is {redaction.shown('extends', extends)}; it can be the name of a profile.",
        )
    values: Mapping[str, Any] = MappingProxyType(flatten(table, origin_of))
    return Layer(origin, values, (extends, line) if extends is not None else None)


def _decoded(content: bytes, origin: Origin) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _in_line(origin, line, "this is not text in UTF-8.") from None


def _parsed(text: str, origin: Origin) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise problem(origin, "", "it nests too deeply to be a configuration.") from None
    except ValueError as error:
        found = _AT.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        column = f" (column {found[2]})" if found and found[2] else ""
        said = redaction.printable(_AT.sub("", str(error)), 120)
        raise _in_line(origin, line, f"this is not TOML: {said}{column}.") from None


def _in_line(origin: Origin, line: int, what: str) -> ConfigError:
    return problem(_at(origin, line), "", what)


def _at(origin: Origin, line: int | None) -> Origin:
    return Origin(origin.layer, origin.name, origin.path, line)


def forget() -> None:
    """Read every file anew from now on."""
    _cache.clear()
