"""What a provider is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from llmspell_jupyter.config.schema import ProviderSettings
from llmspell_jupyter.engine.client import EngineClient, Generation
from llmspell_jupyter.errors import ProviderError
from llmspell_jupyter.types import DeviceName, Message


@dataclass(frozen=True, slots=True)
class Turn:
    """What an agent wants answered.

    Attributes:
        model: Model name or path, without provider.
        messages: The conversation, oldest first.
        persona: Instructions for a chat model whose conversation holds none.
        sampling: Fields of ``types.Sampling`` that the agent sets; the others are the provider's.
        max_tokens: Longest answer, in tokens; None takes the provider's.
        stop: Strings that end the answer.
        grammar: GBNF grammar that the answer follows.
        json_schema: JSON Schema that the answer follows.
        context_size: Tokens of context to load the model with; None takes the provider's.
        device: What computes; None takes the provider's.
    """

    model: str
    messages: tuple[Message, ...]
    persona: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    context_size: int | None = None
    device: DeviceName | None = None


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

    def load(self, model: str) -> Generation:
        """Begin to get a model ready; the last part is ``Ready``."""
        self._lacks("load")

    def tokenize(self, model: str, said: str | Sequence[Message]) -> Generation:
        """Begin to split a text, or a conversation as the model reads it, into ``Tokens``."""
        self._lacks("count tokens")

    def embed(self, model: str, texts: Sequence[str]) -> Generation:
        """Begin to turn texts into ``Embeddings``."""
        self._lacks("embed")

    def _lacks(self, what: str) -> NoReturn:
        raise ProviderError(
            f"Provider '{self.name}' cannot {what}: it runs no models on this machine.",
            hint="Name a model with @candle, such as smollm2:135m@candle.",
            data={"provider": self.name},
        )
