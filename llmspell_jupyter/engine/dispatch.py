"""Which backend runs a model. A module in ``backends/`` is a backend by being there.

Names with a leading underscore are parts that several backends share.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass

from llmspell_jupyter.engine import architectures, backends
from llmspell_jupyter.engine.backend import Backend
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import EmbeddingRequest, EngineRequest, GenerationRequest, ModelInfo


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend for a request.

    Attributes:
        backend: Name of its module.
        reason: Why not a preferred one, or empty.
    """

    backend: str
    reason: str = ""


def names() -> list[str]:
    """Names of all backends, whether or not their libraries are installed."""
    modules = (module.name for module in pkgutil.iter_modules(backends.__path__))
    return sorted(name for name in modules if not name.startswith("_"))


def backend(name: str) -> type[Backend]:
    """The backend of this name; its library is not imported before it loads a model."""
    module = importlib.import_module(f"{backends.__name__}.{name}")
    found: type[Backend] = module.BACKEND
    return found


def choose(model: ModelInfo, request: EngineRequest) -> Choice:
    """The backend that answers this request.

    Raises:
        UnsupportedModel: Nothing here runs such a model.
        RequestError: Such a model does not do what is asked.
    """
    architecture = architectures.detect(model)
    if isinstance(request, EmbeddingRequest) and "embed" not in architecture.tasks:
        raise RequestError(
            f"{model.id} writes text; it does not make vectors of it.",
            hint="Use an embedding model, such as all-minilm-l6-v2.",
        )
    if isinstance(request, GenerationRequest) and "generate" not in architecture.tasks:
        raise RequestError(
            f"{model.id} is an embedding model; it writes no text.",
            hint="%model_list shows the models on this machine.",
        )
    *preferred, last = architecture.backends[model.format]
    reasons: list[str] = []
    for name in preferred:
        reason = backend(name).refuses(model, request)
        if reason is None:
            return Choice(name, "; ".join(reasons))
        reasons.append(reason)
    return Choice(last, "; ".join(reasons))
