"""``[providers]``: who answers agents."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from llmspell_jupyter.config.schema._fields import (
    Section,
    flag,
    number,
    place,
    secret,
    table,
    text,
    whole,
)
from llmspell_jupyter.config.schema._secrets import SecretText
from llmspell_jupyter.types import CacheType, DeviceName, DType

ProviderType = Literal[
    "candle",
    "ollama",
    "openai",
    "anthropic",
    "gemini",
    "groq",
    "openrouter",
    "xai",
    "huggingface",
]

_MINUTE_MS = 60_000


class RateLimitSettings(Section):
    """Table ``[providers.NAME.rate_limit]``."""

    requests_per_minute: int = whole(
        60, 1, 1_000_000, "Requests that may be sent in a minute.", unit="requests"
    )
    tokens_per_minute: int | None = whole(
        None, 1, 10**9, "Tokens that may be sent and received in a minute.", unit="tokens"
    )
    auto_retry: bool = flag(True, "A request over the limit waits instead of failing.")


class RetrySettings(Section):
    """Table ``[providers.NAME.retry]``."""

    max_retries: int = whole(3, 0, 100, "How often a failed request is sent again.")
    initial_delay_ms: int = whole(
        1000, 0, 10 * _MINUTE_MS, "Wait before the first repetition.", unit="ms"
    )
    max_delay_ms: int = whole(
        30_000, 0, 60 * _MINUTE_MS, "Longest wait before a repetition.", unit="ms"
    )
    multiplier: float = number(2.0, 1, 100, "Factor by which each wait is longer than the last.")


class ProviderSettings(Section):
    """Table ``[providers.NAME]``."""

    provider_type: ProviderType = Field(
        description="Who answers; 'candle' is the engine of this package. Also written 'type'.",
        json_schema_extra={"x-in-force": True},
    )
    name: str | None = text(None, "Name to show instead of the table's.")
    enabled: bool = flag(True, "False hides the provider from scripts.", acts=True)
    base_url: str | None = text(None, "Address of the server; None is the provider's own.")
    api_key_env: str | None = text(None, "Environment variable that holds the key.")
    api_key: SecretText | None = secret(
        "Key of the account; better ${NAME} than the key itself, or api_key_env."
    )
    default_model: str | None = text(
        None, "Model of agents that name none. Also written 'model'.", acts=True
    )
    temperature: float | None = number(
        None, 0, 10, "Temperature of agents that set none.", acts=True
    )
    max_tokens: int | None = whole(
        None,
        1,
        10_000_000,
        "Answer length of agents that set none.",
        unit="tokens",
        acts=True,
    )
    timeout_seconds: float = number(
        300,
        0,
        86_400,
        "Longest time that one answer may take.",
        unit="seconds",
        acts=True,
        above=True,
    )
    max_retries: int | None = whole(
        None, 0, 100, "How often a failed request is sent again; None takes retry.max_retries."
    )
    rate_limit: RateLimitSettings = RateLimitSettings()
    retry: RetrySettings = RetrySettings()
    options: dict[str, str | int | float | bool] = table(
        "Further parameters that are handed to the provider as they are."
    )
    # Models on this machine
    model_directory: str | None = place(
        None, "Folder that is searched for this provider's models before the others.", acts=True
    )
    device: DeviceName = text("auto", "What computes.", acts=True)
    max_concurrent: int = whole(8, 1, 1024, "Answers that one model writes at a time.", acts=True)
    default_quantization: str = text(
        "Q4_K_M", "Quantization of models whose name gives none.", acts=True
    )
    cpu_threads: int = whole(
        0, 0, 512, "Threads of a model; 0 is one for each usable core.", acts=True
    )
    context_size: int = whole(
        4096,
        0,
        10_000_000,
        "Context of a model; 0 is what the model allows.",
        unit="tokens",
        acts=True,
    )
    batch_size: int = whole(
        512, 1, 65_536, "Prompt tokens that are read at a time.", unit="tokens", acts=True
    )
    use_flash_attention: bool = flag(
        True, "Compute attention the fast way where that is possible.", acts=True
    )
    gpu_layers: int = whole(
        -1, -1, 10_000, "Layers of a GGUF model that go to the GPU; -1 is all.", acts=True
    )
    cache_type: CacheType = text("f16", "How a GGUF model's context is held.", acts=True)
    dtype: DType = text(
        "auto", "How the weights of a safetensors model are held; auto suits the device.", acts=True
    )
    # A server on this machine
    auto_start: bool = flag(True, "Start the provider's server when it does not run.")
    health_check_interval_seconds: int = whole(
        60, 1, 86_400, "Time between two looks at the provider's server.", unit="seconds"
    )
    default_backend: Literal["candle", "ollama"] | None = text(
        None, "Backend of models that name none."
    )


class Providers(Section):
    """``[providers]``: the default's name, and a table for each provider."""

    model_config = ConfigDict(extra="allow")

    default_provider: str | None = text(
        None, "Provider of agents and models that name none.", acts=True
    )
    __pydantic_extra__: dict[str, ProviderSettings] = Field(init=False)

    def named(self) -> dict[str, ProviderSettings]:
        """The enabled providers by name, in the order of the file."""
        return {name: each for name, each in self.__pydantic_extra__.items() if each.enabled}

    def all(self) -> dict[str, ProviderSettings]:
        """All providers by name, the disabled ones too."""
        return dict(self.__pydantic_extra__)
