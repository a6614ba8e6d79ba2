"""What a model can be. A module here is an architecture by being there."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmspell_jupyter.errors import UnsupportedModel
from llmspell_jupyter.types import ModelInfo

Task = Literal["generate", "embed"]


@dataclass(frozen=True, slots=True)
class ModelArchitecture:
    """A family of models that the same backends run.

    Attributes:
        name: Its name, that of its module.
        types: What its files call it, for each format: ``general.architecture`` of a GGUF file,
            ``model_type`` of a ``config.json``. A format without backends is recognised only.
        backends: For each format the modules in ``backends/`` that run it, the preferred first.
        tasks: What its models can do.
        supports_metal: Its backends compute on Apple's GPUs.
        supports_cuda: Its backends compute on NVIDIA's GPUs.
    """

    name: str
    types: Mapping[str, frozenset[str]]
    backends: Mapping[str, tuple[str, ...]]
    tasks: frozenset[Task]
    supports_metal: bool
    supports_cuda: bool

    @property
    def formats(self) -> tuple[str, ...]:
        """File formats in which its models can be run."""
        return tuple(self.backends)


@functools.cache
def all_architectures() -> tuple[ModelArchitecture, ...]:
    """Every architecture, in order of name."""
    modules = (
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )
    return tuple(module.ARCHITECTURE for module in modules)


def detect(model: ModelInfo) -> ModelArchitecture:
    """The architecture of a model, as its files say.

    Raises:
        UnsupportedModel: Nothing here runs such models; names what was found and what is known.
    """
    found = _by_type().get((model.format, model.architecture))
    if found is None:
        raise _unsupported(
            model,
            f"{model.id} is a {model.format} model of architecture {model.architecture!r}, which "
            "nothing here runs.",
            f"Supported are: {_supported()}.",
        )
    if model.format not in found.backends:
        formats = " or ".join(found.formats)
        raise _unsupported(
            model,
            f"{model.id} is {found.name.upper()} in {model.format}; {found.name.upper()} models "
            f"run from {formats} only.",
            f"Take the same model as a folder of config.json and {formats}, and name that folder.",
        )
    return found


@functools.cache
def _by_type() -> dict[tuple[str, str | None], ModelArchitecture]:
    return {
        (form, each): architecture
        for architecture in all_architectures()
        for form, types in architecture.types.items()
        for each in types
    }


def _unsupported(model: ModelInfo, message: str, hint: str) -> UnsupportedModel:
    return UnsupportedModel(
        message,
        hint=hint,
        data={"path": str(model.path), "found": model.architecture, "format": model.format},
    )


def _supported() -> str:
    formats = sorted({name for each in all_architectures() for name in each.formats} - {"echo"})
    return "; ".join(
        f"{name}: " + ", ".join(each.name for each in all_architectures() if name in each.formats)
        for name in formats
    )
