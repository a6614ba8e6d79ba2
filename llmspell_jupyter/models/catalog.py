"""The models that are known by name: those that are shipped, and those that others add.

Further catalogs are files as ``builtins/models.toml``: those that a request or a variable names,
those of administrators, and those of installed packages, by an entry point of the group
``llmspell_jupyter.catalogs`` that is a path or a function that returns one. Of two models with one
name, that of the earlier catalog counts; the shipped one comes last.
"""

from __future__ import annotations

import importlib.metadata
import os
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from llmspell_jupyter.config import environment, paths
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.models import catalog_file, grammar
from llmspell_jupyter.models.catalog_file import (
    Catalog,
    CatalogFile,
    CatalogModel,
    CatalogShape,
)
from llmspell_jupyter.types import Lookup, ModelSpec

__all__ = [
    "CatalogFile",
    "CatalogModel",
    "CatalogShape",
    "find",
    "models",
    "notes",
    "of_repository",
    "of_spec",
]

ENTRY_POINTS = "llmspell_jupyter.catalogs"

_LOOKUP = Lookup()


@dataclass(frozen=True, slots=True)
class _Known:
    """All models of some catalogs, found by name, by any name, and by repository."""

    models: Mapping[str, CatalogModel]
    names: Mapping[str, CatalogModel]
    repositories: Mapping[str, CatalogModel]
    notes: tuple[str, ...]


def models(lookup: Lookup = _LOOKUP) -> Mapping[str, CatalogModel]:
    """All models by name, those of earlier catalogs first."""
    return _known(lookup).models


def notes(lookup: Lookup = _LOOKUP) -> tuple[str, ...]:
    """A line for each catalog that could not be read, and for each entry that is wrong."""
    return _known(lookup).notes


def find(name: str, lookup: Lookup = _LOOKUP) -> CatalogModel | None:
    """The model with this name or alias, in capitals or not; None when there is none."""
    return _known(lookup).names.get(name.strip().lower())


def of_repository(repository: str, lookup: Lookup = _LOOKUP) -> CatalogModel | None:
    """The first model that lies in this repository; None when no catalog has it."""
    return _known(lookup).repositories.get(repository.lower())


def of_spec(wanted: ModelSpec, lookup: Lookup = _LOOKUP) -> tuple[CatalogModel, str | None] | None:
    """The model that a spec means, and the quantisation that it names, as it is written there.

    ``tinyllama:Q5_K_M``, ``qwen3:0.6b`` and ``qwen3:0.6b-Q8_0`` are understood alike.

    Returns:
        None when no catalog has it; no quantisation when the spec leaves it open.
    """
    if wanted.kind != "name" or wanted.provider:
        return None
    if found := find(wanted.id, lookup):
        return found, None
    size, quantization = grammar.split_variant(wanted.variant)
    found = find(f"{wanted.name}:{size}" if size else wanted.name, lookup)
    return (found, quantization) if found else None


def _known(lookup: Lookup) -> _Known:
    places = [
        *((Path(each).expanduser(), True) for each in lookup.catalogs),
        *((each, True) for each in environment.catalogs()),
        *((each, False) for each in paths.administrators_catalogs()),
        *((each, True) for each in _of_packages()[0]),
        (paths.builtin_catalog(), True),
    ]
    return _merged(tuple(_stamped(places)), _of_packages()[1])


def _stamped(places: list[tuple[Path, bool]]) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """Files with what changes when they do; of those that need not be there, those that are."""
    for path, must_be in dict.fromkeys(places):
        try:
            status = path.stat()
        except OSError:
            if must_be:
                yield path, ()
        else:
            yield path, (status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=16)
def _merged(files: tuple[tuple[Path, tuple[int, ...]], ...], notes: tuple[str, ...]) -> _Known:
    found: dict[str, CatalogModel] = {}
    names: dict[str, CatalogModel] = {}
    repositories: dict[str, CatalogModel] = {}
    said = list(notes)
    for path, stamp in files:
        catalog = _read(path, stamp)
        said += catalog.notes
        for model in catalog.models:
            if model.name.lower() in names:
                continue
            found[model.name] = model
            for name in (model.name, *model.aliases):
                names.setdefault(name.lower(), model)
            repositories.setdefault(model.repository.lower(), model)
    frozen = types.MappingProxyType
    return _Known(frozen(found), frozen(names), frozen(repositories), tuple(said))


# The stamp is part of the key: a file that has changed is read again.
@lru_cache(maxsize=64)
def _read(path: Path, stamp: tuple[int, ...]) -> Catalog:
    try:
        return catalog_file.read(path)
    except LLMSpellError as error:
        return Catalog((), (error.message,))
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        return Catalog((), (f"Catalog {path} cannot be read: {reason}.",))


@lru_cache(maxsize=1)
def _of_packages() -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Catalogs of installed packages, and a note for each that gives none."""
    found, notes = [], []
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            value = point.load()
            found.append(Path(value() if callable(value) else value))
        except Exception as error:
            notes.append(f"Catalog {point.value} gives no file: {error!r}"[:300])
    return tuple(found), tuple(notes)
