"""The files of a model of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import describe, gguf_names
from llmspell_jupyter.models.members import read_json
from llmspell_jupyter.models.safetensors import INDEX
from llmspell_jupyter.types import ModelInfo

#: Folder for what this program makes of a model, and for what is unfinished or on its way out.
OURS = ".llmspell"

_LARGEST_INDEX = 16 * 1024 * 1024


def files_of(model: ModelInfo) -> list[Path]:
    """All files of a model, those included that it names and that are not there.

    Of a folder these are all its files but GGUF, which are models of their own, and but what is
    hidden.
    """
    if model.format == "GGUF":
        return list(describe.parts(model.path))
    if model.format != "safetensors":
        return []
    own = (path for path in below(model.path) if not gguf_names.is_gguf(path.name))
    return sorted({*own, *_indexed(model.path)})


def below(folder: Path, *, hidden: bool = False) -> Iterator[Path]:
    """Files and links below a folder, without what this program made of them.

    Links to folders are not followed.

    Args:
        folder: The folder.
        hidden: Those, too, whose name or folder begins with a dot.
    """

    def counts(name: str) -> bool:
        return name != OURS and (hidden or not name.startswith("."))

    for above, folders, names in os.walk(folder):
        folders[:] = filter(counts, folders)
        links = [each for each in folders if Path(above, each).is_symlink()]
        yield from (Path(above, name) for name in (*filter(counts, names), *links))


def _indexed(folder: Path) -> Iterator[Path]:
    try:
        table = read_json(folder, INDEX, most=_LARGEST_INDEX) or {}
    except BadModelFile:
        return
    shards = table.get("weight_map")
    for name in set(map(str, shards.values())) if isinstance(shards, dict) else ():
        # The same names that a reader of the index takes.
        if name.endswith(".safetensors") and not any(mark in name for mark in "/\\:\0"):
            yield folder / name
