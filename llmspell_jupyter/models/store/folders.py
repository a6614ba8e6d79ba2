"""Models in folders that carry their names, and those that are named by their path.

Folders hold ``NAME:VARIANT/`` or ``NAME-VARIANT/`` with a GGUF file or with ``config.json`` and
safetensors, as rs-llmspell lays them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from llmspell_jupyter.errors import InvalidModelSpec, ModelNotFound
from llmspell_jupyter.models import describe, spec
from llmspell_jupyter.models.problems import bad_file, cannot_open
from llmspell_jupyter.models.store.choosing import Wanted
from llmspell_jupyter.models.store.places import Place
from llmspell_jupyter.types import ModelInfo


def places(folders: Sequence[Path], wanted: Wanted | None) -> Iterator[Place]:
    """Where models lie in these folders.

    Args:
        folders: Folders of folders.
        wanted: Only those that it may mean.
    """
    for folder in folders:
        for path in inside(folder):
            try:
                if spec.parse(path.name).kind != "name":
                    continue
            except InvalidModelSpec:
                continue  # Another kind of folder.
            if wanted and not wanted.may_mean(path.name):
                continue
            for model in models_in(path):
                yield Place(path.name, model)


def at(name: str) -> ModelInfo:
    """The model that a path names.

    Raises:
        InvalidModelSpec: The path is not absolute.
        ModelNotFound: Nothing is there, or several models are.
        BadModelFile: It cannot be opened, or is no model.
    """
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


def models_in(*folders: Path) -> Iterator[Path]:
    """The models that lie directly in these folders: GGUF files, then the folder itself."""
    for folder in folders:
        try:
            yield from (path for path in sorted(folder.iterdir()) if describe.is_gguf(path))
            if describe.is_model_folder(folder):
                yield folder
        except OSError:
            continue  # This user may not look into it.


def inside(folder: Path) -> list[Path]:
    """The folders in a folder."""
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError:
        return []  # A folder that is not there, or that this user may not look into.


def _file_at(path: Path) -> ModelInfo:
    if path.suffix.lower() == ".safetensors":
        raise bad_file(path, f"safetensors are named by the folder that they are in, {path.parent}")
    if not path.is_file():
        raise bad_file(path, "it is not a regular file")
    return describe.model(str(path), path, store="path")
