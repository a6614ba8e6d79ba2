"""The provider ``candle``: models on this machine, run by the engine of this package."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from llmspell_jupyter.config import environment, redaction
from llmspell_jupyter.engine.client import Generation
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.providers._contract import Provider, Turn
from llmspell_jupyter.types import (
    DeviceName,
    EmbeddingRequest,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Lookup,
    Message,
    ModelInfo,
    Sampling,
    TokenizeRequest,
)

_T = TypeVar("_T")

_DEFAULTS = GenerationRequest(model="")


class Local(Provider):
    """Runs models in the user's engine."""

    provider_type = "candle"

    def generate(self, turn: Turn) -> Generation:
        """Begin to answer."""
        settings = self.settings
        sampling = {"temperature": settings.temperature, **turn.sampling}
        request = GenerationRequest(
            model=turn.model,
            messages=turn.messages,
            persona=turn.persona,
            max_tokens=_first(turn.max_tokens, settings.max_tokens, _DEFAULTS.max_tokens),
            stop=turn.stop,
            grammar=turn.grammar,
            json_schema=turn.json_schema,
            sampling=Sampling(**sampling),
            options=self.options(turn.context_size, turn.device),
            lookup=self.lookup(),
        )
        return self.engine.generate(request)

    def load(self, model: str) -> Generation:
        """Begin to get a model ready as the agents of this provider want it."""
        return self.engine.load(LoadRequest(model, self.options(), self.lookup()))

    def tokenize(self, model: str, said: str | Sequence[Message]) -> Generation:
        """Begin to split a text or a conversation into tokens."""
        text = said if isinstance(said, str) else None
        messages = None if isinstance(said, str) else tuple(said)
        return self.engine.ask(
            TokenizeRequest(model, messages, text, self.options(), self.lookup())
        )

    def embed(self, model: str, texts: Sequence[str]) -> Generation:
        """Begin to turn texts into vectors."""
        return self.engine.ask(
            EmbeddingRequest(model, tuple(texts), options=self.options(), lookup=self.lookup())
        )

    def options(
        self, context_size: int | None = None, device: DeviceName | None = None
    ) -> LoadOptions:
        """How models are loaded, unless an agent wants it otherwise."""
        settings = self.settings
        return LoadOptions(
            context_size=_first(context_size, settings.context_size),
            batch_size=settings.batch_size,
            cpu_threads=settings.cpu_threads,
            max_concurrent=settings.max_concurrent,
            device=_first(device, settings.device),
            dtype=settings.dtype,
            gpu_layers=settings.gpu_layers,
            flash_attention=settings.use_flash_attention,
            cache_type=settings.cache_type,
        )

    def lookup(self) -> Lookup:
        """Where models are looked for: first in the folder of this provider."""
        folder = self.settings.model_directory
        own = [str(redaction.resolve_path(folder).absolute())] if folder else []
        usual = everywhere()
        return replace(
            usual,
            folders=(*own, *usual.folders),
            quantization=self.settings.default_quantization,
        )

    def models(self) -> list[ModelInfo]:
        """Models on this machine, as this provider finds them."""
        return self.engine.models(self.lookup())

    def capabilities(self) -> dict[str, Any]:
        """What it can do; the models are left out when the engine cannot be reached."""
        facts: dict[str, Any] = {
            "supports_streaming": True,
            "supports_multimodal": False,
            "max_context_tokens": self.settings.context_size or None,
        }
        with contextlib.suppress(LLMSpellError):
            facts["available_models"] = [model.id for model in self.models()]
        return facts


def everywhere() -> Lookup:
    """Where models are looked for, whoever answers: the engine may have been started elsewhere."""
    return Lookup(
        folders=tuple(str(each.absolute()) for each in environment.model_path()),
        caches=tuple(map(str, environment.hub_caches())),
        catalogs=tuple(map(str, environment.catalogs())),
        ollama_store=str(environment.ollama_store()),
    )


def _first(*values: _T | None) -> _T:
    return next(value for value in values if value is not None)


PROVIDER = Local
