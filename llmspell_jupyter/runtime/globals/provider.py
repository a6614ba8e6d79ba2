"""``Provider``: who can answer agents in this profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmspell_jupyter import providers
from llmspell_jupyter.models import spec
from llmspell_jupyter.runtime.exports import ScriptGlobal, script

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime


class Provider(ScriptGlobal):
    """Lists the providers of the profile."""

    name = "Provider"

    def __init__(self, runtime: Runtime):
        self._runtime = runtime

    @script
    def list(self) -> Any:
        """``[{name, enabled, capabilities}]``."""
        return [_describe(each) for each in self._runtime.providers.values()]

    @script
    def get(self, name: Any) -> dict[str, Any] | None:
        """``{name, enabled, capabilities}``, or nil."""
        found = self._find(name)
        return _describe(found) if found else None

    @script
    def getCapabilities(self, name: Any) -> dict[str, Any] | None:
        """``{supports_streaming, supports_multimodal, max_context_tokens?, ...}``, or nil."""
        found = self._find(name)
        return found.capabilities() if found else None

    @script
    def isAvailable(self, name: Any) -> bool:
        """Whether the profile has this provider."""
        return self._find(name) is not None

    def _find(self, name: Any) -> providers.Provider | None:
        if not isinstance(name, str):
            return None
        return self._runtime.providers.get(spec.canonical(name))


def _describe(provider: providers.Provider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "enabled": True,
        "capabilities": provider.capabilities(),
    }


GLOBAL = Provider
