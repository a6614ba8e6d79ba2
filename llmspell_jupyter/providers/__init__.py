"""Who answers an agent. A module here is a provider by being there; ``_`` marks the others."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from llmspell_jupyter.config.schema import Configuration
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import ProviderError
from llmspell_jupyter.models.spec import BACKENDS
from llmspell_jupyter.providers._contract import Provider, Turn
from llmspell_jupyter.providers._not_yet import NotYet

__all__ = ["Provider", "Turn", "configured", "not_configured"]


def configured(configuration: Configuration, engine: EngineClient) -> dict[str, Provider]:
    """The providers that a configuration enables, by name."""
    kinds = _kinds()
    return {
        name: kinds.get(settings.provider_type, NotYet)(name, settings, engine)
        for name, settings in configuration.providers.named().items()
    }


def not_configured(name: str, known: Mapping[str, Provider], profiles: list[str]) -> ProviderError:
    """The error for a provider that the profile does not have.

    Args:
        name: The provider that was asked for.
        known: The providers there are.
        profiles: Names of the built-in profiles, one of which may bring it.
    """
    data = {"provider": name, "configured": sorted(known)}
    if name in profiles:
        return ProviderError(
            f"Provider '{name}' is not configured in this profile.",
            hint=f"Load the profile that has it; type: %llmspell_profile {name}",
            data=data,
        )
    there = ", ".join(sorted(known)) or "none"
    local = ", ".join(sorted(set(BACKENDS.values())))
    return ProviderError(
        f"Provider '{name}' is not configured, and no built-in profile has it "
        f"(configured: {there}; local backends: {local}).",
        hint='Use a model of this machine: Agent.builder():provider("candle")',
        data=data,
    )


def _kinds() -> dict[str, type[Provider]]:
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    ]
    return {module.PROVIDER.provider_type: module.PROVIDER for module in modules}
