"""``Config``: the configuration in force, for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import ConfigError
from llmspell_jupyter.models import spec
from llmspell_jupyter.runtime.exports import ScriptGlobal, script

if TYPE_CHECKING:
    from llmspell_jupyter.config.schema import Configuration
    from llmspell_jupyter.runtime.runtime import Runtime

_SECTIONS = ("providers", "engines", "runtime", "security")


class Config(ScriptGlobal):
    """Reads the configuration."""

    name = "Config"

    def __init__(self, runtime: Runtime):
        self._runtime = runtime

    @script
    def get(self) -> dict[str, Any]:
        """The whole configuration."""
        shown: dict[str, Any] = self._runtime.profile.show()
        return shown

    @script
    def toJson(self) -> dict[str, Any]:
        """Another name of ``get``."""
        return self.get()

    @script
    def getDefaultEngine(self) -> str:
        """Language of scripts: ``lua``."""
        return self._configuration.default_engine

    @script
    def getProvider(self, name: Any) -> dict[str, Any] | None:
        """A provider's settings, or nil."""
        if not isinstance(name, str):
            return None
        wanted = spec.canonical(name)
        if wanted not in self._configuration.providers.named():
            return None
        found: dict[str, Any] = self.get()["providers"][wanted]
        return found

    @script
    def listProviders(self) -> Any:
        """Names of the providers."""
        return list(self._configuration.providers.named())

    @script
    def getSecurity(self) -> dict[str, Any]:
        """What scripts may do."""
        return self._configuration.runtime.security.model_dump(mode="json")

    @script
    def isFileAccessAllowed(self) -> bool:
        """Whether scripts may read and write files."""
        return self._configuration.runtime.security.allow_file_access

    @script
    def isNetworkAccessAllowed(self) -> bool:
        """Whether scripts may use the network."""
        return self._configuration.runtime.security.allow_network_access

    @script
    def getSection(self, name: Any) -> dict[str, Any]:
        """One of the sections ``providers``, ``engines``, ``runtime`` and ``security``."""
        if name == "security":
            return self.getSecurity()
        if not isinstance(name, str) or name not in _SECTIONS:
            raise ConfigError(
                f"Unknown configuration section: {name}",
                hint=f"There are {', '.join(_SECTIONS)}.",
            )
        section: dict[str, Any] = self.get()[name]
        return section

    @property
    def _configuration(self) -> Configuration:
        return self._runtime.profile.configuration


GLOBAL = Config
