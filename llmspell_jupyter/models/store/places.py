"""A place where a model lies, and what there is at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmspell_jupyter.models import describe
from llmspell_jupyter.types import ModelInfo, StoreKind


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is.

    Attributes:
        id: The model's id.
        path: Its GGUF file, or the folder of its safetensors.
        store: What kind of place it is.
        repository: Where it came from, ``owner/name``; None when unknown.
        revision: Commit of the repository; None when unknown.
        license: As a catalog says; None when unknown.
        listed: The store has it in a list, whether its file is there or not.
    """

    id: str
    path: Path
    store: StoreKind = "folder"
    repository: str | None = None
    revision: str | None = None
    license: str | None = None
    listed: bool = False


def described(places: Iterable[Place], *, revisions: bool = False) -> list[ModelInfo]:
    """The models at these places; of those with the same id the first.

    Args:
        places: Where to look.
        revisions: Of those with the same id, one of each revision.
    """
    found: dict[tuple[str, str | None], ModelInfo] = {}
    for place in places:
        key = place.id.lower(), place.revision if revisions else None
        if key in found:
            continue
        try:
            info = describe.model(
                place.id,
                place.path,
                store=place.store,
                repository=place.repository,
                revision=place.revision,
                license=place.license,
                listed=place.listed,
            )
        except OSError:
            continue  # It has gone meanwhile, or is not for this user.
        found[key] = info
    return list(found.values())
