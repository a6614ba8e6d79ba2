"""Who answers an agent. A module here is a provider by being there; ``_`` marks the others."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence

from llmspell_jupyter.config import environment
from llmspell_jupyter.config.schema import Configuration
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import ProviderError
from llmspell_jupyter.models import spec
from llmspell_jupyter.providers._contract import Provider, Turn
from llmspell_jupyter.providers._not_yet import NotYet
from llmspell_jupyter.providers.local import Local, everywhere
from llmspell_jupyter.types import LoadOptions, Lookup, Sources

__all__ = [
    "Provider",
    "Turn",
    "configured",
    "load_options",
    "lookup",
    "named",
    "not_configured",
    "sources",
]


def configured(configuration: Configuration, engine: EngineClient) -> dict[str, Provider]:
    """The providers that a configuration enables, by name."""
    kinds = _kinds()
    return {
        name: kinds.get(settings.provider_type, NotYet)(name, settings, engine)
        for name, settings in configuration.providers.named().items()
    }


def named(text: str) -> tuple[str | None, str]:
    """The provider of a model name, and the model.

    Returns:
        The provider, None when none is named, and the model without it; a path from the root.

    Raises:
        InvalidModelSpec: The text does not follow the grammar.
    """
    if spec.is_path(text):
        return None, spec.absolute(text)
    parsed = spec.parse(text)
    return parsed.backend or parsed.provider, parsed.id


def lookup(providers: Mapping[str, Provider]) -> Lookup:
    """Where models are looked for: as the local provider says, if the profile has one."""
    local = _local(providers)
    return local.lookup() if local else everywhere()


def load_options(providers: Mapping[str, Provider]) -> LoadOptions:
    """How models are loaded: as the local provider says, if the profile has one."""
    local = _local(providers)
    return local.options() if local else LoadOptions()


def sources(providers: Mapping[str, Provider]) -> Sources:
    """Where models are fetched from; the Ollama server is that of the profile, if it has one."""
    servers = (
        each.settings.base_url
        for each in providers.values()
        if each.settings.provider_type == "ollama"
    )
    return environment.sources(next(filter(None, servers), ""))


def not_configured(
    name: str, known: Mapping[str, Provider], profiles: Sequence[str]
) -> ProviderError:
    """The error for a provider that the profile does not have.

    Args:
        name: The provider that was asked for.
        known: The providers there are.
        profiles: Built-in profiles that set it up, the best first.
    """
    data = {"provider": name, "configured": sorted(known)}
    if profiles:
        return ProviderError(
            f"Backend '{name}' not configured. To use {name} models:",
            hint=f" 1. Use the builtin profile: %llmspell_profile {profiles[0]}\n"
            f" 2. Or configure {name} provider in your config file: [providers.{name}]",
            data=data,
        )
    local = ", ".join(sorted(set(spec.BACKENDS.values()), reverse=True))
    return ProviderError(
        f"Backend '{name}' not configured and no matching builtin profile found.",
        hint=f"Available backends: {local}. A model of this machine: "
        'Agent.builder():provider("candle")\n'
        "Check your model specification format: model:variant@backend",
        data=data,
    )


def _local(providers: Mapping[str, Provider]) -> Local | None:
    return next((each for each in providers.values() if isinstance(each, Local)), None)


def _kinds() -> dict[str, type[Provider]]:
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    ]
    return {module.PROVIDER.provider_type: module.PROVIDER for module in modules}
