"""Stores laid out as the Hugging Face cache.

A repository has a folder ``models--OWNER--NAME``: ``blobs/`` holds files by their hash,
``snapshots/COMMIT/`` their names as links into it, ``refs/NAME`` the commit of a branch or tag.
Reading it needs neither the hub's library nor a network.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmspell_jupyter.config import environment
from llmspell_jupyter.errors import InvalidModelSpec
from llmspell_jupyter.models import catalog, describe, gguf_names, spec
from llmspell_jupyter.models.catalog import CatalogModel
from llmspell_jupyter.models.safetensors import INDEX
from llmspell_jupyter.models.store.choosing import Wanted
from llmspell_jupyter.models.store.places import Place
from llmspell_jupyter.types import Lookup, ModelSpec, StoreKind

MAIN = "main"

#: Name in ``refs/`` of the revision that was pulled by its own name; a pull of ``main`` takes it
#: away. Other programs see one more tag.
CHOSEN = "llmspell"

_LONGEST_REF = 100
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One revision of a repository.

    Attributes:
        folder: Folder of the repository, ``models--OWNER--NAME``.
        commit: Its commit.
    """

    folder: Path
    commit: str

    @property
    def path(self) -> Path:
        """Where its files are."""
        return self.folder / "snapshots" / self.commit

    def blob_of(self, path: Path) -> Path | None:
        """The file in ``blobs/`` that a name stands for, there or not; None when there is none.

        A link that leads elsewhere stands for none. Where a system has no links, a name is a
        copy: the only blob of its size.
        """
        blobs = (self.folder / "blobs").resolve()
        try:
            target = path.parent.resolve() / path.readlink()
        except OSError:
            return _original(blobs, path)
        blob = target.parent.resolve() / target.name
        return blob if blob.parent == blobs else None


def caches(lookup: Lookup) -> tuple[Path, ...]:
    """The stores: the user's own, then those that are only read."""
    own = (Path(each).expanduser().absolute() for each in lookup.caches)
    return tuple(dict.fromkeys((*own, *environment.hub_caches())))


def places(cache: Path, store: StoreKind, lookup: Lookup, wanted: Wanted | None) -> Iterator[Place]:
    """Where models lie in a store.

    Those of the revision that was chosen come first, else of the branch ``main``, then those of
    the newest one: of places with the same id the first is what the id stands for.

    Args:
        cache: The store.
        store: Whose it is.
        lookup: Names further catalogs, whose names models have here.
        wanted: Only those that it may mean.
    """
    found = repositories(cache)
    if wanted:
        found = [each for each in found if each[1].lower() in wanted.repositories]
    names: dict[str, CatalogModel] = {}
    for model in catalog.models(lookup).values() if found else ():
        names.setdefault(model.repository.lower(), model)
    for folder, repository in found:
        known = names.get(repository.lower())
        for snapshot in snapshots(folder, wanted.revision if wanted else ""):
            for name, named in _ids(repository, known, list(_models(snapshot.path))):
                path = snapshot.path / name if name else snapshot.path
                yield Place(
                    _id(named, path),
                    path,
                    store=store,
                    repository=repository,
                    revision=snapshot.commit,
                    license=known.license if known else None,
                )


def repositories(cache: Path) -> list[tuple[Path, str]]:
    """The repositories in a store: the folder of each, and its name; sorted."""
    found = ((name, spec.repository_of(name)) for name in _folders(os.fspath(cache)))
    return sorted((cache / name, repository) for name, repository in found if repository)


def snapshots(folder: Path, revision: str = "") -> list[Snapshot]:
    """The revisions of a repository that are here: the chosen one, that of ``main``, the newest.

    Args:
        folder: Folder of the repository.
        revision: Only this commit, branch or tag; empty takes all.
    """
    found: list[tuple[int, str]] = []
    try:
        with os.scandir(folder / "snapshots") as entries:
            found = [
                (each.stat().st_mtime_ns, each.name)
                for each in entries
                if not each.name.startswith(".") and each.is_dir()
            ]
    except OSError:
        return []  # There are none, or they are not for this user.
    names = [name for _, name in sorted(found, reverse=True)]
    if revision:
        names = [name for name in names if name in (revision, _commit(folder, revision))]
    elif len(names) > 1:
        first = [each for each in (_commit(folder, ref) for ref in (CHOSEN, MAIN)) if each in names]
        names = [*dict.fromkeys([*first, *names])]
    return [Snapshot(folder, name) for name in names]


def snapshot_of(path: Path) -> Snapshot | None:
    """The revision that a file or a folder is in; None when it lies in no such store."""
    for each in (path, *path.parents):
        folder = each.parent.parent
        if each.parent.name == "snapshots" and spec.repository_of(folder.name):
            return Snapshot(folder, each.name)
    return None


def is_chosen(snapshot: Snapshot) -> bool:
    """Whether a pull that names no revision would not fetch this one, as far as is known."""
    main = _commit(snapshot.folder, MAIN)
    return main != snapshot.commit and (bool(main) or len(snapshots(snapshot.folder)) > 1)


def read_ref(path: Path) -> str:
    """The commit that a file below ``refs/`` names; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_REF).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _models(snapshot: Path) -> Iterator[str]:
    """The models in a snapshot: the name of the first file of each, empty for safetensors."""
    names = _names(os.fspath(snapshot))
    firsts = {
        f"{folder}{slash}{gguf_names.parts(file)[0]}"
        for folder, slash, file in (
            name.rpartition("/") for name in names if gguf_names.is_model(name)
        )
    }
    yield from sorted(firsts)
    weighty = any(
        name == INDEX or Path(name).suffix.lower() in describe.WEIGHTS
        for name in names
        if "/" not in name
    )
    if weighty and "config.json" in names:
        yield ""


def _ids(
    repository: str, known: CatalogModel | None, names: Sequence[str]
) -> Iterator[tuple[str, ModelSpec]]:
    """The spec of each of these models of one snapshot, beside its name."""
    listed = _listed(known) if known else {}
    kinds = {name: listed.get(name) or spec.quantization_of(name) for name in names if name}
    count = Counter(kinds.values())
    whole = ModelSpec(repository, kind="repository")
    base = spec.parse(known.name) if known else whole
    for name in names:
        kind = kinds.get(name)
        if not name or (len(names) == 1 and not kind):
            yield name, base
        elif kind and count[kind] == 1:
            yield name, replace(base, variant=f"{base.variant}-{kind}" if base.variant else kind)
        else:
            yield name, replace(whole, variant=name)


def _listed(known: CatalogModel) -> dict[str, str]:
    """Quantisations by file, as the catalog has them."""
    return {file.path: kind for kind, files in known.files.items() for file in files}


def _id(wanted: ModelSpec, path: Path) -> str:
    """An id that reads as itself; the path of a model whose name cannot be typed."""
    try:
        return wanted.id if spec.parse(wanted.id) == wanted else str(path)
    except InvalidModelSpec:
        return str(path)


def _commit(folder: Path, ref: str) -> str:
    """The commit that a branch or tag stands for; empty when it is not known here."""
    try:
        return read_ref(spec.file_in(folder / "refs", ref))
    except InvalidModelSpec:
        return ""


def _original(blobs: Path, copy: Path) -> Path | None:
    """The blob that a file is a copy or a further name of."""
    try:
        state = copy.lstat()
        with os.scandir(blobs) as entries:
            found = [each for each in entries if each.stat().st_size == state.st_size]
    except OSError:
        return None
    same = [each for each in found if each.stat().st_ino == state.st_ino] or found
    return blobs / same[0].name if len(same) == 1 else None


def _folders(cache: str) -> list[str]:
    try:
        with os.scandir(cache) as entries:
            return [each.name for each in entries if each.name.startswith("models--")]
    except OSError:
        return []  # There is none, or it is not for this user.


def _names(folder: str, above: str = "", depth: int = 0) -> list[str]:
    """Files and links in a folder and below it, with ``/``; links to folders are not followed."""
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if each.name.startswith("."):
                    continue
                if not each.is_dir(follow_symlinks=False):
                    found.append(above + each.name)
                elif depth < _DEEPEST:
                    found += _names(each.path, f"{above}{each.name}/", depth + 1)
    except OSError:
        pass  # This user may not look into it.
    return found
