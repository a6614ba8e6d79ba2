"""Providers that a profile may name and that this version cannot ask."""

from __future__ import annotations

from typing import Any

from llmspell_jupyter.engine.client import Generation
from llmspell_jupyter.errors import ProviderError
from llmspell_jupyter.providers._contract import Provider, Turn


class NotYet(Provider):
    """Is listed with the others, and says why it does not answer."""

    provider_type = ""

    def generate(self, turn: Turn) -> Generation:
        """Say that it is not yet in force.

        Raises:
            ProviderError: Always.
        """
        raise ProviderError(
            f"Provider '{self.name}' is configured, but providers of type "
            f"'{self.settings.provider_type}' are not yet in force in this version.",
            hint='Use a model of this machine: Agent.builder():provider("candle")',
            data={"provider": self.name, "provider_type": self.settings.provider_type},
        )

    def capabilities(self) -> dict[str, Any]:
        """Nothing yet."""
        return {
            "supports_streaming": False,
            "supports_multimodal": False,
            "max_context_tokens": None,
            "available_models": [],
        }
