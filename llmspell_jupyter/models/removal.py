"""Taking a model off this machine, and all that was made of it.

Whatever happens in the middle, no half of a model is listed as a whole one: what goes at once
goes by a rename, and of the rest what a model cannot be without goes first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from llmspell_jupyter.config import environment, paths
from llmspell_jupyter.errors import NotRemovable
from llmspell_jupyter.models import describe, shared_blobs
from llmspell_jupyter.models.pull import claim
from llmspell_jupyter.models.safetensors import INDEX
from llmspell_jupyter.models.store import bundled, hub_cache
from llmspell_jupyter.models.store.files import OURS, below, files_of
from llmspell_jupyter.models.store.hub_cache import Snapshot
from llmspell_jupyter.types import Lookup, ModelInfo

#: Begins the name of what is on its way out.
REMOVED = ".removed-"

# Weights of other programs' formats: a folder with such files is still in use.
_WEIGHTS = describe.WEIGHTS | {".gguf", ".onnx", ".tflite", ".mlmodel", ".npz"}

_LOOKUP = Lookup()


def remove(model: ModelInfo, lookup: Lookup = _LOOKUP) -> int:
    """Remove a model, what was converted from it, and its unfinished downloads.

    In the user's own store its files go that no other revision has; other models of the same
    repository stay.

    Args:
        model: The model.
        lookup: Names the user's own store.

    Returns:
        Bytes that are free again.

    Raises:
        NotRemovable: It lies where this program removes nothing, or the system does not allow it.
    """
    try:
        if model.store == "folder" and (base := _our_folder(model.path, lookup)):
            return _from_folder(model, base)
        snapshot = hub_cache.snapshot_of(model.path) if model.store == "hub" else None
        if snapshot and snapshot.folder.parent == hub_cache.caches(lookup)[0]:
            return _from_store(model, snapshot)
    except NotRemovable:
        raise
    except OSError as error:
        raise NotRemovable(
            f"{model.id} cannot be removed, or not all of it: {error.strerror}: {error.filename}.",
            hint="Check that you may write there; what is left of it %model_gc removes.",
            data={"model": model.id, "path": str(model.path)},
        ) from None
    raise NotRemovable(
        f"{model.id} is not removed: {_owner(model)}.",
        hint=_instead(model),
        data={"model": model.id, "path": str(model.path), "store": model.store},
    )


def size_of(path: Path) -> int:
    """Bytes that become free with a file, a link or a folder.

    No link is followed but a blob's into what repositories share, where it is the last one.
    """
    if path.is_symlink():
        return shared_blobs.freed_with(path) if shared_blobs.behind(path) else 0
    if path.is_dir():
        return sum(map(size_of, path.iterdir()))
    with contextlib.suppress(FileNotFoundError):
        state = path.lstat()
        # A file with a second name stays.
        return state.st_size if state.st_nlink < 2 else 0
    return 0


def discard(path: Path) -> int:
    """Remove a file, a link or a folder; bytes that are free again.

    No link is followed but a blob's into what repositories share, where it is the last one.
    """
    if path.is_symlink():
        shared = shared_blobs.behind(path)
        path.unlink(missing_ok=True)
        return shared_blobs.sweep(shared) if shared else 0
    size = size_of(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return size


def used_blobs(folder: Path) -> set[Path]:
    """The blobs of a repository that one of its revisions needs."""
    found = set()
    for snapshot in hub_cache.snapshots(folder):
        for path in below(snapshot.path, hidden=True):
            if blob := snapshot.blob_of(path):
                found.add(blob)
    return found


def links_in(folder: Path) -> str:
    """Which folder of a repository is a link and leads elsewhere; empty when none is."""
    folders = (folder, *(folder / each for each in ("snapshots", "blobs", "refs", OURS)))
    return next((str(each) for each in folders if each.is_symlink()), "")


def check_readable(folder: Path) -> None:
    """Whether this user may see all of a repository: else nobody can tell what is needed there.

    Raises:
        OSError: A folder in it is not for this user.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for above, _, _ in os.walk(folder, onerror=refuse):
        # To list a folder is one right, to look at what is in it another.
        if not os.access(above, os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), above)


def tidy(folder: Path) -> None:
    """Remove the folders of a repository that hold nothing any more."""
    if not hub_cache.snapshots(folder):
        for name in ("refs", ".no_exist"):
            if not (folder / name).is_symlink():
                shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("snapshots", "blobs", OURS, ""):
        with contextlib.suppress(OSError):
            (folder / name).rmdir()
    if not folder.exists():
        shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)


def _from_store(model: ModelInfo, snapshot: Snapshot) -> int:
    folder = snapshot.folder
    if link := links_in(folder) or (str(snapshot.path) if snapshot.path.is_symlink() else ""):
        raise NotRemovable(
            f"{model.id} is not removed: {link} is a link, and what it leads to may be in use.",
            hint=f"In a terminal, type: rm {shlex.quote(link)}",
            data={"model": model.id, "path": link},
        )
    check_readable(folder)
    mine = files_of(model)
    others = [path for path in below(snapshot.path, hidden=True) if path not in set(mine)]
    whole = not any(path.suffix.lower() in _WEIGHTS for path in others)
    gone = [*mine, *others] if whole else mine
    blobs = {blob for path in gone if (blob := snapshot.blob_of(path))}
    converted = [paths.converted_model(model.path)]
    freed = 0
    if whole:
        leaving = folder / OURS / f"{REMOVED}{secrets.token_hex(8)}"
        leaving.parent.mkdir(exist_ok=True)
        snapshot.path.rename(leaving)
        converted.append(leaving)
    else:
        freed += sum(discard(path) for path in _in_order(mine))
        remove_empty(snapshot.path)
        if model.format == "safetensors":
            converted.append(model.path / OURS)
    _forget(folder)
    for blob in sorted(blobs - used_blobs(folder)):
        freed += discard(blob)
    freed += sum(discard(path) for path in converted if path.exists())
    freed += _drop_partials(folder, None if whole else {blob.name for blob in blobs})
    tidy(folder)
    return freed


def _in_order(files: Sequence[Path]) -> list[Path]:
    """Files of a model, so that what is left of it is never taken for a whole one.

    The last part of a GGUF model goes first. Of a folder the weights go before their index,
    which tells that they are missing, and ``config.json`` last.
    """

    def place(path: Path) -> int:
        if path.name == "config.json":
            return 3
        if path.name == INDEX:
            return 1
        return 0 if path.suffix.lower() in describe.WEIGHTS | {".gguf"} else 2

    return sorted(sorted(files, reverse=True), key=place)


def remove_empty(folder: Path) -> None:
    """Remove folders below a folder that hold nothing."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()


def _forget(folder: Path) -> None:
    """Remove branches and tags of revisions that are not here any more."""
    here = {snapshot.commit for snapshot in hub_cache.snapshots(folder)}
    for path in below(folder / "refs"):
        if hub_cache.read_ref(path) not in here:
            path.unlink(missing_ok=True)
    remove_empty(folder / "refs")


def _drop_partials(folder: Path, blobs: set[str] | None) -> int:
    """Remove unfinished downloads: of these blobs, or of all that nobody goes on with."""
    freed = 0
    if not (folder / OURS).is_dir():
        return 0
    for path in (folder / OURS).iterdir():
        name = path.name.split(".")[0]
        if not name or (blobs is not None and name not in blobs):
            continue
        if not claim.is_alive(path):
            freed += discard(path)
    return freed


def _our_folder(path: Path, lookup: Lookup) -> Path | None:
    """The folder of folders that a model lies in, if it is one that this package fills."""
    users = {*environment.model_path(), *(Path(each).expanduser() for each in lookup.folders)}
    for folder in paths.model_folders():
        if folder in path.parents and folder not in users:
            return folder
    return None


def _from_folder(model: ModelInfo, base: Path) -> int:
    home = base / model.path.relative_to(base).parts[0]
    freed = discard(paths.converted_model(model.path)) if model.format == "safetensors" else 0
    if home.is_symlink():
        return freed + discard(home)
    mine = set(files_of(model))
    others = (path for path in below(home, hidden=True) if path not in mine)
    if any(path.suffix.lower() in _WEIGHTS for path in others):
        return freed + sum(discard(path) for path in _in_order(sorted(mine)))
    leaving = base / f"{REMOVED}{secrets.token_hex(8)}"
    home.rename(leaving)
    return freed + discard(leaving)


def _owner(model: ModelInfo) -> str:
    return {
        "bundled": "it came with an installed package",
        "shared": f"{model.path} is kept for everyone",
        "ollama": "it is Ollama's",
        "none": "it has no files",
    }.get(model.store, f"{model.path} is a file or folder of yours")


def _instead(model: ModelInfo) -> str:
    """What to type instead."""
    if model.store == "bundled":
        package = (bundled.package_of(model.id) or "").replace("_", "-")
        return f"Type: %pip uninstall -y {package}"
    if model.store == "shared":
        folder = _root(model.path)
        return f"Ask who looks after it to type: rm -r {shlex.quote(str(folder))}"
    if model.store == "ollama":
        return f"In a terminal, type: ollama rm {model.id}"
    if model.store == "none":
        return "%model_list shows the models that have files."
    files = [model.path] if model.format == "safetensors" else list(describe.parts(model.path))
    return f"In a terminal, type: rm {'-r ' if model.path.is_dir() else ''}{_quoted(files)}"


def _root(path: Path) -> Path:
    snapshot = hub_cache.snapshot_of(path)
    return snapshot.folder if snapshot else path


def _quoted(files: Iterable[Path]) -> str:
    return " ".join(shlex.quote(str(each)) for each in files)
