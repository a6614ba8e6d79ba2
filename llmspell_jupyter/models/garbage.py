"""What stores hold that no model needs: left by kills, by updates and by other programs."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llmspell_jupyter.config import paths
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import removal, shared_blobs
from llmspell_jupyter.models.pull import claim
from llmspell_jupyter.models.store import hub_cache, ollama_files
from llmspell_jupyter.models.store.files import OURS, below
from llmspell_jupyter.types import Lookup

#: Seconds for which a file may be in the making without anybody knowing.
GRACE = 24 * 3600.0

_INCOMPLETE = ".incomplete"
_PARTIAL = "-partial"


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that no model needs.

    Attributes:
        path: A file, a link or a folder.
        bytes: What it takes.
        why: Why it is not needed; of what is only reported also what to type to free it.
        kept: It is not removed: it belongs to another program, or the system does not allow it.
    """

    path: Path
    bytes: int
    why: str
    kept: bool = False


def collect(
    lookup: Lookup, *, dry_run: bool, now: float, grace: float = GRACE
) -> tuple[Garbage, ...]:
    """Find what no model needs in the user's own store, and remove it.

    What a running pull works at stays, and so does what is younger than the grace period. Of
    Ollama's files it is only said what could go. Stores of others are not looked at.

    Args:
        lookup: Names the stores.
        dry_run: Remove nothing.
        now: Seconds since the epoch.
        grace: Seconds.

    Returns:
        What was found, in the order of the places.
    """
    cache = hub_cache.caches(lookup)[0]

    def old(path: Path) -> bool:
        try:
            state = path.lstat()
        except OSError:
            return False
        # A rename changes the second time only.
        return now - max(state.st_mtime, state.st_ctime) >= grace

    found = [_done(each, dry_run) for each in [*_leaving()]]
    for folder, _ in hub_cache.repositories(cache):
        if removal.links_in(folder) or not _is_readable(folder):
            continue
        # Each kind is looked for once the one before is gone: links keep blobs, blobs folders.
        for look in (_unfinished, _links, _revisions, _blobs, _refs):
            found += [_done(each, dry_run) for each in [*look(folder, old)]]
        if (empty := _empty(folder, old)) is not None:
            found.append(empty)
            if not dry_run:
                removal.remove_empty(folder)
                removal.tidy(folder)
        elif not dry_run:
            with contextlib.suppress(OSError):
                (folder / OURS).rmdir()
    # Blobs are gone by now that were links into these.
    found += [_done(each, dry_run, shared_blobs.sweep) for each in [*_shared(cache, old)]]
    found += _of_ollama(ollama_files.folder(lookup), old)
    return tuple(found)


_Old = Callable[[Path], bool]


def _done(
    garbage: Garbage, dry_run: bool, discard: Callable[[Path], int] = removal.discard
) -> Garbage:
    """Remove it; what cannot be removed says so."""
    if dry_run:
        return garbage
    try:
        return replace(garbage, bytes=discard(garbage.path))
    except OSError as error:
        return replace(garbage, kept=True, why=f"{garbage.why}; not removed: {error.strerror}")


def _is_readable(folder: Path) -> bool:
    try:
        removal.check_readable(folder)
    except OSError:
        return False  # What is needed cannot be told.
    return True


def _leaving() -> Iterator[Garbage]:
    """What an interrupted removal left in folders of models."""
    for folder in paths.model_folders():
        for path in _entries(folder):
            if path.name.startswith(removal.REMOVED):
                yield Garbage(path, removal.size_of(path), "its removal was interrupted")


def _unfinished(folder: Path, old: _Old) -> Iterator[Garbage]:
    """Downloads that nobody goes on with, and what an interrupted removal left."""
    for path in _entries(folder / OURS):
        size = removal.size_of(path)
        if path.name.startswith(removal.REMOVED):
            yield Garbage(path, size, "its removal was interrupted")
        elif old(path) and not claim.is_alive(path):
            yield Garbage(path, size, "a download that nobody goes on with")
    for path in _entries(folder / "blobs"):
        if path.name.endswith(_INCOMPLETE) and old(path):
            yield Garbage(
                path, removal.size_of(path), "a download that another program did not finish"
            )


def _links(folder: Path, old: _Old) -> Iterator[Garbage]:
    """Names in revisions whose file is gone."""
    for snapshot in hub_cache.snapshots(folder):
        for path in below(snapshot.path, hidden=True):
            if path.is_symlink() and not path.exists() and old(path):
                yield Garbage(path, 0, "a link to a file that is not there")


def _revisions(folder: Path, old: _Old) -> Iterator[Garbage]:
    """Revisions of which nothing is left."""
    for snapshot in hub_cache.snapshots(folder):
        path = snapshot.path
        if not path.is_symlink() and old(path) and _is_empty(path):
            yield Garbage(path, 0, "nothing of this revision is left")


def _blobs(folder: Path, old: _Old) -> Iterator[Garbage]:
    """Files that no revision names."""
    if _is_busy(folder, old):
        return
    used = removal.used_blobs(folder)
    blobs = (folder / "blobs").resolve()
    for path in _entries(folder / "blobs"):
        if blobs / path.name not in used and not path.name.endswith(_INCOMPLETE) and old(path):
            yield Garbage(path, removal.size_of(path), "no revision on this machine needs it")


def _is_busy(folder: Path, old: _Old) -> bool:
    """Whether a pull may yet name what it has published."""
    partials = _entries(folder / OURS)
    return any(claim.is_alive(path) for path in partials) or any(
        path.name.endswith(_INCOMPLETE) and not old(path) for path in _entries(folder / "blobs")
    )


def _refs(folder: Path, old: _Old) -> Iterator[Garbage]:
    """Branches and tags of revisions that are not here."""
    here = {snapshot.commit for snapshot in hub_cache.snapshots(folder)}
    for path in below(folder / "refs"):
        if hub_cache.read_ref(path) not in here and old(path):
            yield Garbage(path, removal.size_of(path), "its revision is not on this machine")


def _empty(folder: Path, old: _Old) -> Garbage | None:
    """The folder of a repository, when there is nothing in it."""
    empty = old(folder) and _is_empty(folder)
    return Garbage(folder, 0, "there is nothing in it") if empty else None


def _is_empty(folder: Path) -> bool:
    """Whether there are at most further folders in a folder."""
    return all(path.is_dir() and not path.is_symlink() for path in folder.rglob("*"))


def _shared(cache: Path, old: _Old) -> Iterator[Garbage]:
    """Bytes that repositories shared, none of which links to them any more."""
    for path, size in sorted(shared_blobs.unneeded(cache).items()):
        if old(path):
            yield Garbage(path, size, "no repository on this machine needs it")


def _of_ollama(root: Path, old: _Old) -> Iterator[Garbage]:
    """Files of Ollama's that it does not need; they are only reported."""
    try:
        named = ollama_files.named_blobs(root)
    except (BadModelFile, OSError):
        return  # What is needed cannot be told.
    for path in _entries(root / "blobs"):
        if path.name in named or not old(path):
            continue
        what = (
            "a download that Ollama did not finish"
            if _PARTIAL in path.name
            else ("no model of Ollama's needs it")
        )
        yield Garbage(
            path,
            removal.size_of(path),
            f"{what}; Ollama's server removes it when it starts, or type: "
            f"rm {shlex.quote(str(path))}",
            kept=True,
        )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []  # There is none, or it is not for this user.
