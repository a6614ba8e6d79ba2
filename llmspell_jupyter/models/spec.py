"""Names of models, and the paths that they turn into; ``grammar`` says how they are written.

The one door to both: other rooms ask here.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from llmspell_jupyter.errors import InvalidModelSpec
from llmspell_jupyter.models.grammar import (
    GRAMMAR,
    canonical,
    is_path,
    known_backend,
    means_quantization,
    quantization_of,
    read,
    split_provider,
    split_variant,
    typed,
)
from llmspell_jupyter.models.spec_paths import (
    commit,
    file_in,
    is_commit,
    is_repository,
    problem_of_file,
    repository_folder,
    repository_of,
    shown,
)
from llmspell_jupyter.types import BACKENDS, PROVIDERS, ModelSpec

__all__ = [
    "BACKENDS",
    "GRAMMAR",
    "PROVIDERS",
    "absolute",
    "canonical",
    "commit",
    "file_in",
    "is_commit",
    "is_path",
    "is_repository",
    "known_backend",
    "means_quantization",
    "parse",
    "problem_of_file",
    "quantization_of",
    "repository_folder",
    "repository_of",
    "split_provider",
    "split_variant",
    "typed",
]


def parse(text: str) -> ModelSpec:
    """Read a model name; ``parse(str(spec)) == spec`` for all that it returns.

    Raises:
        InvalidModelSpec: The text does not follow the grammar, or names an unknown backend or
            two that differ; the error shows the grammar and the nearest name.
    """
    found = read(text)
    if found is None:
        raise _invalid(text.strip())
    return found


def absolute(text: str) -> str:
    """A model's path from the root, for one that may begin at home or in the working folder.

    Raises:
        InvalidModelSpec: There is no such home.
    """
    try:
        path = Path(text.strip()).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidModelSpec(
            f"{text.strip()[:80]!r} is not a path here: {error}.",
            hint="Write the whole path of the model, from the root.",
        ) from None
    return os.path.normpath(path)


def _invalid(text: str) -> InvalidModelSpec:
    near = _nearest(text)
    meant = f"Did you mean {near!r}? " if near else ""
    return InvalidModelSpec(
        f"{shown(text)} is not a model name." if text else "The model name is empty.",
        hint=f"{meant}Write {GRAMMAR}; %model_list shows the models on this machine.",
        data={"nearest": [near] if near else []},
    )


# Folders with names of another kind are met each time that models are listed.
@lru_cache(maxsize=512)
def _nearest(text: str) -> str | None:
    # Reading the catalogs takes longer than all else here, and few names are wrong.
    from llmspell_jupyter.models import nearest

    return next(iter(nearest.names(text)), None)
