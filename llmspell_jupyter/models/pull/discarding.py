"""Throwing away what has come of a pull that nobody will go on with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from llmspell_jupyter.models import spec
from llmspell_jupyter.models.hub import planning
from llmspell_jupyter.models.pull import claim, journal, partial, puller
from llmspell_jupyter.models.pull.pace import PACE
from llmspell_jupyter.types import PullRequest

# Whoever waits for a file looks several times in so long whether it is free.
_PATIENCE_SECONDS = 0.5


def discard(request: PullRequest, files: Collection[str]) -> int:
    """Remove the partial files of a pull that has ended; the bytes that had come.

    A file that somebody else fetches, or waits for, stays: it is theirs now. Blocks for half a
    second.

    Args:
        request: What was to be fetched.
        files: Paths of its files in the repository.

    Raises:
        InvalidModelSpec: The model's name does not follow the grammar.
        ModelNotFound: No catalog has it any more.
    """
    time.sleep(_PATIENCE_SECONDS)
    return sum(_discard(root, files) for root in _repositories(request))


def _repositories(request: PullRequest) -> Iterator[Path]:
    """The folders of a repository; the hub may write its name with other capitals."""
    name = spec.repository_folder(planning.wanted(request).repository).lower()
    cache = puller.stores(request.lookup)[0]
    with contextlib.suppress(OSError):
        yield from [each for each in cache.iterdir() if each.name.lower() == name]


def _discard(root: Path, files: Collection[str]) -> int:
    folder = root / partial.FOLDER
    # As nothing is written through a link.
    if root.is_symlink() or folder.is_symlink():
        return 0
    freed = 0
    for path in [*folder.glob(f"*{partial.JOURNAL}")]:
        known = journal.read(path)
        if known is None or known[0].path not in files:
            continue
        mine = claim.Claim(path.with_suffix(partial.SUFFIX), silent_seconds=PACE.silent_seconds)
        if mine.take():
            partial.remove(path.with_suffix(partial.SUFFIX))
            mine.release()
            freed += known[1].total
    for each in (folder, root):
        with contextlib.suppress(OSError):
            each.rmdir()
    return freed
