"""The provider ``candle``: models on this machine, run by the engine of this package."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

from llmspell_jupyter.engine.client import Generation
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.providers._contract import Provider, Turn
from llmspell_jupyter.types import GenerationRequest, LoadOptions, Sampling

_T = TypeVar("_T")

_DEFAULTS = GenerationRequest(model="")


class Local(Provider):
    """Runs models in the user's engine."""

    provider_type = "candle"

    def generate(self, turn: Turn) -> Generation:
        """Begin to answer."""
        settings = self.settings
        request = GenerationRequest(
            model=turn.model,
            messages=turn.messages,
            max_tokens=_first(turn.max_tokens, settings.max_tokens, _DEFAULTS.max_tokens),
            sampling=Sampling(
                temperature=_first(
                    turn.temperature, settings.temperature, _DEFAULTS.sampling.temperature
                )
            ),
            options=LoadOptions(
                context_size=_first(turn.context_size, settings.context_size),
                batch_size=settings.batch_size,
                cpu_threads=settings.cpu_threads,
            ),
        )
        return self.engine.generate(request)

    def capabilities(self) -> dict[str, Any]:
        """What it can do; the models are left out when the engine cannot be reached."""
        facts: dict[str, Any] = {
            "supports_streaming": True,
            "supports_multimodal": False,
            "max_context_tokens": self.settings.context_size or None,
        }
        with contextlib.suppress(LLMSpellError):
            facts["available_models"] = [model.id for model in self.engine.models()]
        return facts


def _first(*values: _T | None) -> _T:
    return next(value for value in values if value is not None)


PROVIDER = Local
