"""Which backend runs a model. A module in ``backends/`` is a backend by being there."""

from __future__ import annotations

import importlib
import pkgutil

from llmspell_jupyter.engine import backends
from llmspell_jupyter.engine.backend import Backend
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.types import ModelInfo

#: Backend by file format, the file name of its module.
_BY_FORMAT = {"GGUF": "llama_cpp", "echo": "echo"}


def names() -> list[str]:
    """Names of all backends, whether or not their libraries are installed."""
    return sorted(module.name for module in pkgutil.iter_modules(backends.__path__))


def backend(name: str) -> type[Backend]:
    """The backend of this name."""
    module = importlib.import_module(f"{backends.__name__}.{name}")
    found: type[Backend] = module.BACKEND
    return found


def backend_for(model: ModelInfo) -> type[Backend]:
    """The backend that runs this model.

    Raises:
        BadModelFile: No backend reads this format.
    """
    name = _BY_FORMAT.get(model.format)
    if name is None:
        raise BadModelFile(
            f"{model.id} is of format {model.format!r}; known are {', '.join(_BY_FORMAT)}.",
            data={"path": str(model.path)},
        )
    return backend(name)
