"""What a provider is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from llmspell_jupyter.config.schema import ProviderSettings
from llmspell_jupyter.engine.client import EngineClient, Generation
from llmspell_jupyter.types import Message


@dataclass(frozen=True, slots=True)
class Turn:
    """What an agent wants answered.

    Attributes:
        model: Model name, without provider.
        messages: The conversation, oldest first.
        temperature: None takes the provider's.
        max_tokens: Longest answer, in tokens; None takes the provider's.
        context_size: Tokens of context to load the model with; None takes the provider's.
    """

    model: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    max_tokens: int | None = None
    context_size: int | None = None


class Provider(ABC):
    """Answers agents.

    Args:
        name: Its name in the profile.
        settings: Its table in the profile.
        engine: The user's engine, for providers that run there.
    """

    #: Value of ``provider_type`` that names this kind.
    provider_type: ClassVar[str]

    def __init__(self, name: str, settings: ProviderSettings, engine: EngineClient):
        self.name = name
        self.settings = settings
        self.engine = engine

    @abstractmethod
    def generate(self, turn: Turn) -> Generation:
        """Begin to answer; the result is iterated for its parts and can be cancelled."""

    @abstractmethod
    def capabilities(self) -> dict[str, Any]:
        """``supports_streaming, supports_multimodal, max_context_tokens, available_models``."""
