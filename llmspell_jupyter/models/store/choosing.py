"""Which of several models a name stands for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from llmspell_jupyter.errors import InvalidModelSpec, ModelNotFound
from llmspell_jupyter.models import catalog, spec
from llmspell_jupyter.types import Lookup, ModelInfo, ModelSpec

_LOOKUP = Lookup()

# What other programs put on this machine does not change what a name meant before: models of
# the first group that fit go before all of the next.
_RANKS = {"hub": 1, "shared": 2, "ollama": 3}

# Ollama's name for a model whose variant is left out.
_LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks for.

    Attributes:
        spec: The name as it is typed.
        known: The same in the catalog's words; None when no catalog has it.
        repository: The repository that the catalog has for it; None when unknown.
        revision: Commit, branch or tag; empty when it is left open.
    """

    spec: ModelSpec
    known: ModelSpec | None = None
    repository: str | None = None
    revision: str = ""

    @classmethod
    def of(cls, wanted: ModelSpec, lookup: Lookup, revision: str = "") -> Wanted:
        """The name, and what catalogs say of it."""
        if wanted.kind == "repository":
            return cls(wanted, repository=wanted.name, revision=revision)
        found = catalog.of_spec(wanted, lookup)
        if found is None:
            return cls(wanted, revision=revision)
        model, quantization = found
        name = _parsed(model.name)
        variant = "-".join(filter(None, (name.variant, quantization)))
        known = ModelSpec(name.name, variant or None)
        return cls(wanted, known, model.repository, revision)

    def may_mean(self, model_id: str, repository: str | None = None) -> bool:
        """Whether a model of this id or repository is worth a look."""
        names = {each.name.lower() for each in (self.spec, self.known) if each}
        by_repository = repository is not None and repository.lower() in self.repositories
        return _parsed(model_id).name.lower() in names or by_repository

    @property
    def repositories(self) -> frozenset[str]:
        """Repositories that it may mean, in lower case."""
        names = {self.spec.name.lower()}
        return frozenset(names | {self.repository.lower()} if self.repository else names)

    def fits(self, info: ModelInfo) -> bool:
        """Whether it stands for this model."""
        return _fits(info, self.spec) or (self.known is not None and _fits(info, self.known))


def choose(
    wanted: ModelSpec | Wanted,
    models: Sequence[ModelInfo],
    quantization: str = _LOOKUP.quantization,
) -> ModelInfo:
    """The one of these models that a spec names.

    Size and quantisation may both be left out where that leaves one model, or one with the
    quantisation that is preferred. Models of the user's folders and of packages go before those
    of stores, the own one before shared ones, and Ollama's come last.

    Args:
        wanted: The spec.
        models: What there is.
        quantization: Preferred when several fit.

    Raises:
        ModelNotFound: None or several fit; the error names the nearest.
    """
    if isinstance(wanted, ModelSpec):
        wanted = Wanted(wanted)
    fitting = [info for info in models if wanted.fits(info)]
    first = min((_RANKS.get(info.store, 0) for info in fitting), default=0)
    fitting = [info for info in fitting if _RANKS.get(info.store, 0) == first]
    for preferred in (
        [info for info in fitting if info.id.lower() == wanted.spec.id.lower()],
        [info for info in fitting if quantization.lower() in _quantizations(info)],
        [info for info in fitting if _parsed(info.id).variant == _LATEST],
    ):
        if len(fitting) > 1 and len(preferred) == 1:
            fitting = preferred
    if len(fitting) != 1:
        raise _several(wanted, fitting) if fitting else not_found(wanted, models)
    return fitting[0]


def is_named(name: str, model: ModelInfo) -> bool:
    """Whether a model spec or a path stands for this model."""
    if spec.is_path(name):
        return Path(name.strip()).expanduser() == model.path
    try:
        return _fits(model, spec.parse(name))
    except InvalidModelSpec:
        return False


def not_found(wanted: Wanted, models: Sequence[ModelInfo]) -> ModelNotFound:
    """The error for a name that stands for none of these models."""
    ids = [info.id for info in models]
    shown = wanted.spec.id + (f" at {wanted.revision}" if wanted.revision else "")
    near = difflib.get_close_matches(wanted.spec.id.lower(), ids, n=1, cutoff=0.5)
    if pull := _pull(wanted):
        hint = f"To fetch it, type: {pull}"
    elif near:
        hint = f"Did you mean {near[0]!r}? %model_list shows the models on this machine."
    elif ids:
        hint = f"Models on this machine: {', '.join(ids[:8])}. %model_list shows more."
    else:
        hint = 'No model is installed; type: %pip install "llmspell-jupyter[demo]"'
    return ModelNotFound(
        f"Model {shown!r} is not on this machine.",
        hint=hint,
        data={"model": wanted.spec.id, "nearest": near},
    )


def _several(wanted: Wanted, fitting: Sequence[ModelInfo]) -> ModelNotFound:
    ids = [info.id for info in fitting]
    return ModelNotFound(
        f"{wanted.spec.id!r} fits several models: {', '.join(ids)}.",
        hint="Name one of them with its variant.",
        data={"model": wanted.spec.id, "models": ids},
    )


def _pull(wanted: Wanted) -> str:
    """What to type to fetch it; empty when nobody knows where it is."""
    if not wanted.repository:
        return ""
    revision = f" --revision {wanted.revision}" if wanted.revision else ""
    return f"%model_pull {wanted.spec.id}{revision}"


@lru_cache(maxsize=4096)
def _parsed(model_id: str) -> ModelSpec:
    """The id of a model as a name; a path is its own name."""
    try:
        return spec.parse(model_id)
    except InvalidModelSpec:
        return ModelSpec(model_id, kind="path")


def _fits(info: ModelInfo, wanted: ModelSpec) -> bool:
    own = _parsed(info.id)
    name = wanted.name.lower()
    if own.name.lower() != name and (
        wanted.kind != "repository" or (info.repository or "").lower() != name
    ):
        return False
    if wanted.variant is None or wanted.id.lower() == info.id.lower():
        return True
    if wanted.variant.lower().endswith(".gguf"):
        return f"/{info.path.as_posix()}".lower().endswith(f"/{wanted.variant}".lower())
    size, quantization = spec.split_variant(wanted.variant)
    own_size, _ = spec.split_variant(own.variant)
    return (size is None or size.lower() == (own_size or "").lower()) and (
        quantization is None
        or any(spec.means_quantization(quantization, each) for each in _quantizations(info))
    )


def quantization_of(info: ModelInfo) -> str | None:
    """How the numbers of a model are held, such as ``Q4_K_M``; None when nothing tells.

    It is what its id tells, else its file's name, else the file's header: files that are made in
    another way than usual have the header of the usual ones.
    """
    told = (each and spec.quantization_of(each) for each in (_rest(info), info.path.name))
    return next(filter(None, told), info.quantization)


def _quantizations(info: ModelInfo) -> frozenset[str]:
    """The rest of its variant, and how its numbers are held, in lower case."""
    return frozenset(text.lower() for text in (_rest(info), quantization_of(info)) if text)


def _rest(info: ModelInfo) -> str | None:
    """Its variant without the size."""
    return spec.split_variant(_parsed(info.id).variant)[1]
