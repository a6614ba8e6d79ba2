"""``Config``: the configuration in force, to read and, within limits, to change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.config import changes
from llmspell_jupyter.config.loaded import Loaded
from llmspell_jupyter.errors import ConfigError, RequestError
from llmspell_jupyter.models import spec
from llmspell_jupyter.runtime.exports import ScriptGlobal, script

if TYPE_CHECKING:
    from llmspell_jupyter.config.schema import Configuration
    from llmspell_jupyter.runtime.runtime import Runtime

_SECTIONS = ("providers", "engines", "runtime", "tools", "security")
_MOST_SNAPSHOTS = 100


class Config(ScriptGlobal):
    """Reads the configuration; what it changes lasts until another profile is loaded."""

    name = "Config"

    def __init__(self, runtime: Runtime):
        self._runtime = runtime
        self._snapshots: dict[int, Loaded] = {}

    @script
    def get(self) -> dict[str, Any]:
        """The whole configuration, without secrets."""
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
        """A provider's settings, or nil; an API key shows as ``<REDACTED>``."""
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
        security: dict[str, Any] = self.get()["runtime"]["security"]
        return security

    @script
    def getTools(self) -> dict[str, Any]:
        """Settings of the tools."""
        tools: dict[str, Any] = self.get()["tools"]
        return tools

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
        """One of the sections providers, engines, runtime, tools and security."""
        if name == "security":
            return self.getSecurity()
        if not isinstance(name, str) or name not in _SECTIONS:
            raise ConfigError(
                f"Unknown configuration section: {name}",
                hint=f"There are {', '.join(_SECTIONS)}.",
            )
        section: dict[str, Any] = self.get()[name]
        return section

    @script
    def getPermissions(self) -> dict[str, Any]:
        """What scripts may change, and what an administrator allows at all."""
        policy = self._runtime.profile.policy
        permissions: dict[str, Any] = {
            "read": True,
            "modify_providers": True,
            "modify_tools": True,
            "modify_runtime": True,
            "modify_security": False,
            "access_secrets": False,
        }
        if policy.providers is not None:
            permissions["allowed_providers"] = list(policy.providers)
        return permissions

    @script
    def setProvider(self, name: Any, settings: Any) -> None:
        """Set up a provider for this notebook; ``settings`` as in ``[providers.NAME]``."""
        if not isinstance(name, str) or not isinstance(settings, dict):
            raise RequestError("Config.setProvider takes a name and a table of settings.")
        wanted = spec.canonical(name)
        self._change({f"providers.{wanted}.{key}": each for key, each in settings.items()})

    @script
    def addAllowedPath(self, path: Any) -> None:
        """Let tools use this folder, too."""
        if not isinstance(path, str) or not path:
            raise RequestError("Config.addAllowedPath takes a path.")
        allowed = self._configuration.tools.file_operations.allowed_paths
        self._change({"tools.file_operations.allowed_paths": [*allowed, path]})

    @script
    def setSecurity(self, settings: Any) -> None:
        """Always refused: a script cannot widen what scripts may do."""
        raise ConfigError(
            "Cannot modify security settings without permission",
            hint="They stand in the profile, under [runtime.security].",
        )

    @script
    def snapshot(self) -> int:
        """Remember the configuration; the number brings it back with ``restoreSnapshot``."""
        # Two in one second get numbers of their own.
        number = max([int(time.time()), *(taken + 1 for taken in self._snapshots)])
        self._snapshots[number] = self._runtime.profile
        for oldest in list(self._snapshots)[:-_MOST_SNAPSHOTS]:
            del self._snapshots[oldest]
        return number

    @script
    def restoreSnapshot(self, number: Any) -> None:
        """Bring back what ``snapshot`` remembered."""
        found = self._snapshots.get(int(number)) if isinstance(number, int | float) else None
        if found is None:
            raise RequestError(
                f"There is no snapshot {number}.", hint="Take one: Config.snapshot()"
            )
        self._runtime.apply(found)

    def _change(self, values: dict[str, Any]) -> None:
        self._runtime.apply(changes.changed(self._runtime.profile, values))

    @property
    def _configuration(self) -> Configuration:
        return self._runtime.profile.configuration


GLOBAL = Config
