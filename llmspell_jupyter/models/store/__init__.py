"""Which models are on this machine, and which of them a name stands for.

Places that are looked into, in this order; of models of one name the first is taken:

1. folders that the user names,
2. models bundled in installed Python packages,
3. the folders of this package and of rs-llmspell,
4. the user's own store, laid out as the Hugging Face cache,
5. such stores that an administrator keeps for everyone,
6. Ollama's files.

Beside these, files and folders are named by their path. Nothing is copied, and no network asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from llmspell_jupyter.config import paths
from llmspell_jupyter.errors import BadModelFile, ModelNotFound, UnsafeFormat
from llmspell_jupyter.models import describe, spec
from llmspell_jupyter.models.store import bundled, folders, hub_cache, ollama_files, repairs
from llmspell_jupyter.models.store.choosing import (
    Wanted,
    choose,
    is_named,
    not_found,
    quantization_of,
)
from llmspell_jupyter.models.store.places import Place, described
from llmspell_jupyter.types import Lookup, ModelInfo, ModelSpec

__all__ = ["ECHO", "choose", "explain", "installed", "is_named", "quantization_of", "resolve"]

#: Model that repeats what it is told; needs no weights and is not listed.
ECHO = ModelInfo(
    id="echo",
    backend="candle",
    path=Path(),
    format="echo",
    size_bytes=0,
    modified_at=0,
    architecture="echo",
    store="none",
)

_LOOKUP = Lookup()

# Yields the places of one kind; only those that may be meant, where something is wanted.
_Source = Callable[[Wanted | None], Iterator[Place]]


def installed(
    searched: Sequence[Path] | None = None, lookup: Lookup = _LOOKUP, *, revisions: bool = False
) -> list[ModelInfo]:
    """All models on this machine in the order of their places; unreadable ones are listed, too.

    Args:
        searched: Folders to search; default are ``paths.model_folders()``.
        lookup: Names places that are searched before.
        revisions: List each revision of a model that is there, not only the one of its name.
    """
    found = (place for source in _sources(lookup, searched, revisions) for place in source(None))
    return described(found, revisions=revisions)


def resolve(name: str, lookup: Lookup = _LOOKUP, *, revision: str = "") -> ModelInfo:
    """The model on this machine that a name stands for.

    Args:
        name: A model spec, or the absolute path of a GGUF file or of a folder with a model.
        lookup: Where to look first, and what to take when the name leaves it open.
        revision: Commit, branch or tag of its repository; empty takes the usual one.

    Raises:
        InvalidModelSpec: The name does not follow the grammar, or the path is not absolute.
        ModelNotFound: None or several fit; the error names the nearest.
        BadModelFile: The model is there but damaged, or not all of it is there.
        UnsafeFormat: Loading it could run code.
    """
    if spec.is_path(name):
        found = folders.at(name.strip())
    else:
        parsed = spec.parse(name)
        if parsed.name == ECHO.id:
            return replace(ECHO, id=parsed.id)
        found = _find(parsed, lookup, revision)
    if found.architecture is None:
        explain(found)
    return found


def explain(model: ModelInfo) -> None:
    """Raise what is wrong with a model that has no architecture, and what mends it.

    Raises:
        BadModelFile: It is damaged, or not all of it is there.
        UnsafeFormat: Loading it could run code.
    """
    try:
        describe.explain(model.path)
    except UnsafeFormat:
        raise
    except BadModelFile as error:
        error.hint = repairs.hint(model) or error.hint
        raise


def _find(name: ModelSpec, lookup: Lookup, revision: str) -> ModelInfo:
    if name.backend not in (None, "candle"):
        raise ModelNotFound(
            f"{str(name)!r} is run by Ollama's server, not by this engine.",
            hint=f"Leave @ollama out to load Ollama's file here: {name.id}",
            data={"model": str(name)},
        )
    several = bool(revision)
    nearest, *others = _sources(lookup, None, several)
    # The name as it is typed, in the nearest place: most requests need no catalog.
    if not several and (found := _chosen(nearest, Wanted(name), lookup)):
        return found
    wanted = Wanted.of(name, lookup, revision)
    for source in (nearest, *others):
        if found := _chosen(source, wanted, lookup):
            return found
    # The others are read only to say what there is.
    raise not_found(wanted, installed(lookup=lookup, revisions=several))


def _chosen(source: _Source, wanted: Wanted, lookup: Lookup) -> ModelInfo | None:
    """The model of one place that is meant; None when none fits.

    Raises:
        ModelNotFound: Several fit.
    """
    models = described(source(wanted), revisions=bool(wanted.revision))
    fits = any(map(wanted.fits, models))
    return choose(wanted, models, lookup.quantization) if fits else None


def _sources(lookup: Lookup, searched: Sequence[Path] | None, revisions: bool) -> Iterator[_Source]:
    """The places, in groups of one rank."""
    own = [Path(folder).expanduser() for folder in lookup.folders]

    def plain(wanted: Wanted | None) -> Iterator[Place]:
        yield from folders.places(own, wanted)
        yield from bundled.places(wanted)
        yield from folders.places(paths.model_folders() if searched is None else searched, wanted)

    if not revisions:
        yield plain
    own_cache, *shared = hub_cache.caches(lookup)
    yield partial(hub_cache.places, own_cache, "hub", lookup)
    for cache in shared:
        yield partial(hub_cache.places, cache, "shared", lookup)
    if not revisions:
        yield partial(ollama_files.places, ollama_files.folder(lookup))
