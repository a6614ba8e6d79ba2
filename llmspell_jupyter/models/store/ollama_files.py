"""Ollama's files, as they are: nothing is copied, and no server needed.

``manifests/HOST/NAMESPACE/NAME/TAG`` lists the layers of a model; ``blobs/sha256-...`` holds them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmspell_jupyter.config import environment
from llmspell_jupyter.errors import BadModelFile, InvalidModelSpec
from llmspell_jupyter.models import spec
from llmspell_jupyter.models.members import read_json
from llmspell_jupyter.models.store.choosing import Wanted
from llmspell_jupyter.models.store.places import Place
from llmspell_jupyter.types import Lookup

_HOST, _NAMESPACE = "registry.ollama.ai", "library"
_HUBS = ("hf.co", "huggingface.co")
_DEPTH = 4

_MODEL = "application/vnd.ollama.image.model"
# Weights that only make sense on top of the model's: without them it would be another one.
_ADAPTER = "application/vnd.ollama.image.adapter"

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def folder(lookup: Lookup) -> Path:
    """Ollama's folder."""
    own = lookup.ollama_store
    return Path(own).expanduser().absolute() if own else environment.ollama_store()


def places(root: Path, wanted: Wanted | None) -> Iterator[Place]:
    """Where models lie in Ollama's folder; those of its cloud and its adapters are left out.

    Args:
        root: Ollama's folder.
        wanted: Only those that it may mean.
    """
    for manifest, parts in manifests(root):
        model_id, repository = _names(parts)
        if wanted and not wanted.may_mean(model_id, repository):
            continue
        try:
            spec.parse(model_id)
            layers = _layers(manifest)
        except (InvalidModelSpec, BadModelFile):
            continue
        models = [digest for kind, digest in layers if kind == _MODEL]
        if len(models) == 1 and all(kind != _ADAPTER for kind, _ in layers):
            path = root / "blobs" / f"sha256-{models[0]}"
            yield Place(model_id, path, store="ollama", repository=repository, listed=True)


def manifests(root: Path, *, strict: bool = False) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The manifests, with host, namespace, name and tag of each; sorted.

    Args:
        root: Ollama's folder.
        strict: Leave out no folder that this user may not look into.

    Raises:
        OSError: There is such a folder, or none at all, and ``strict`` is set.
    """
    yield from _below(root / "manifests", (), strict)


def named_blobs(root: Path) -> frozenset[str]:
    """Names of the files in ``blobs/`` that some model needs.

    Raises:
        BadModelFile: A manifest is damaged.
        OSError: One cannot be read.
    """
    return frozenset(
        f"sha256-{digest}"
        for path, _ in manifests(root, strict=True)
        for _, digest in _layers(path)
    )


def _below(
    above: Path, parts: tuple[str, ...], strict: bool
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    try:
        with os.scandir(above) as entries:
            found = sorted(entries, key=lambda each: each.name)
    except OSError:
        if strict:
            raise
        return
    for each in found:
        if each.name.startswith("."):
            continue
        here = (*parts, each.name)
        if len(here) < _DEPTH and each.is_dir(follow_symlinks=False):
            yield from _below(above / each.name, here, strict)
        elif len(here) == _DEPTH and each.is_file():
            yield above / each.name, here


def _names(parts: tuple[str, ...]) -> tuple[str, str | None]:
    """A model's id as Ollama shows it, and its repository on the hub."""
    host, namespace, name, tag = parts
    if host.lower() in _HUBS:
        return f"{host}/{namespace}/{name}:{tag}", f"{namespace}/{name}"
    if host != _HOST:
        return f"{host}/{namespace}/{name}:{tag}", None
    return (name if namespace == _NAMESPACE else f"{namespace}/{name}") + f":{tag}", None


def _layers(manifest: Path) -> list[tuple[str, str]]:
    """Kind and SHA-256 of each part of a model.

    Raises:
        BadModelFile: The manifest is damaged.
    """
    table = read_json(manifest.parent, manifest.name) or {}
    layers = table.get("layers")
    parts: list[Any] = [table.get("config"), *(layers if isinstance(layers, list) else ())]
    found = []
    for part in parts:
        if isinstance(part, dict):
            match = _DIGEST.fullmatch(str(part.get("digest")))
            if match:
                found.append((str(part.get("mediaType")), match[1]))
    return found
