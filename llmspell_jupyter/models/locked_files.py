"""The files of a model, by their bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from llmspell_jupyter.models import describe, gguf_reader
from llmspell_jupyter.models.members import member, read_json
from llmspell_jupyter.models.problems import bad_file, cannot_open
from llmspell_jupyter.types import ModelInfo

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)

# What a model of safetensors is made of; the rest of its folder is for people.
_NEEDED = frozenset({".safetensors", ".json", ".model", ".txt", ".jinja"})
# The same in folders below: how an embedding model makes one vector of many.
_BELOW = ("1_Pooling/config.json",)

_LARGEST_CONFIG = 64 * 1024 * 1024
_LARGEST_TEMPLATE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file of a model.

    Attributes:
        path: In its repository, or in its folder; with ``/``.
        sha256: Of its bytes, 64 hexadecimal digits.
    """

    path: str
    sha256: str
    size_bytes: int


def of(model: ModelInfo) -> tuple[LockedFile, ...]:
    """The files that a model needs, each read to its end; sorted by path.

    Raises:
        BadModelFile: One cannot be read, or a link leads out of the folder.
    """
    paths: Iterable[Path]
    if model.format == "GGUF":
        base, paths = _base(model.path.parent, model.revision), describe.parts(model.path)
    elif model.format == "safetensors":
        base, paths = _base(model.path, model.revision), _of_folder(model.path)
    else:
        return ()
    named = ((path.relative_to(base).as_posix(), path) for path in paths)
    return tuple(LockedFile(name, *_digest(path)) for name, path in sorted(named))


def template_sha256(model: ModelInfo) -> str | None:
    """SHA-256 of the text of a model's chat template; None when it has none.

    Raises:
        BadModelFile: A file that may hold it is damaged.
    """
    found: Any = None
    if model.format == "GGUF":
        found = gguf_reader.walk(model.path).scalars.get("tokenizer.chat_template")
    elif model.format == "safetensors":
        found = _template(model.path)
    return hashlib.sha256(found.encode()).hexdigest() if isinstance(found, str) else None


def from_json(path: str, value: Mapping[str, Any]) -> LockedFile:
    """A file as a lock file has it.

    Raises:
        ValueError: Its path leads elsewhere, or its hash or size is none.
        KeyError: One is missing.
    """
    parts = PurePosixPath(path).parts
    leads_away = "\\" in path or path.startswith("/") or ".." in parts
    if not parts or leads_away or not path.isprintable():
        raise ValueError(f"{path!r:.80} is no path in a repository")
    digest, size = value["sha256"], value["size_bytes"]
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError(f"{digest!r:.80} is no SHA-256")
    if type(size) is not int or size < 0:
        raise ValueError(f"{size!r:.80} is no size")
    return LockedFile(path, digest, size)


def check_repository(name: Any, commit: Any) -> None:
    """Refuse what is no repository, or no commit of one.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(name):
        raise ValueError(f"{name!r:.80} is no repository")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ValueError(f"{commit!r:.80} is no commit")


def _of_folder(folder: Path) -> list[Path]:
    beside = [
        each
        for each in folder.iterdir()
        if each.suffix in _NEEDED and not each.name.startswith(".") and each.is_file()
    ]
    return beside + [path for name in _BELOW if (path := member(folder, name))]


def _base(folder: Path, commit: str | None) -> Path:
    """The folder of a snapshot, for a folder in it."""
    above = (each for each in (folder, *folder.parents) if commit and each.name == commit)
    return next(above, folder)


def _digest(path: Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest, file.tell()
    except OSError as error:
        raise cannot_open(path, error) from None


def _template(folder: Path) -> Any:
    file = member(folder, "chat_template.jinja")
    if file is not None:
        with file.open("rb") as source:
            data = source.read(_LARGEST_TEMPLATE + 1)
        if len(data) > _LARGEST_TEMPLATE:
            raise bad_file(file, f"it is longer than {_LARGEST_TEMPLATE:,} bytes")
        return data.decode("utf-8", "replace")
    said = read_json(folder, "tokenizer_config.json", most=_LARGEST_CONFIG) or {}
    found = said.get("chat_template")
    if isinstance(found, list):
        # Several for several uses.
        named = {each.get("name"): each for each in found if isinstance(each, dict)}
        found = named.get("default", {}).get("template")
    return found
