"""What a profile may say, one module for each subject. Unknown keys are errors.

``Configuration`` is the whole; ``config.leaves`` lists its keys with what is known of each.
"""

from __future__ import annotations

from typing import Literal

from llmspell_jupyter.config.schema._fields import Section, flag, text
from llmspell_jupyter.config.schema._secrets import REDACTED, SecretText, is_secret, redact
from llmspell_jupyter.config.schema.debug import DebugSettings
from llmspell_jupyter.config.schema.engines import EngineSettings, LuaSettings
from llmspell_jupyter.config.schema.events import EventSettings, HookSettings
from llmspell_jupyter.config.schema.local import (
    LocalEngineSettings,
    ModelSettings,
    NotebookSettings,
    StorageSettings,
)
from llmspell_jupyter.config.schema.providers import Providers, ProviderSettings
from llmspell_jupyter.config.schema.rag import RagSettings
from llmspell_jupyter.config.schema.runtime import RuntimeSettings, SecuritySettings
from llmspell_jupyter.config.schema.tools import ToolSettings

__all__ = [
    "REDACTED",
    "Configuration",
    "LuaSettings",
    "ProviderSettings",
    "Providers",
    "SecretText",
    "Section",
    "SecuritySettings",
    "is_secret",
    "redact",
]


class Configuration(Section):
    """A whole profile."""

    default_engine: Literal["lua"] = text("lua", "Language of scripts.", acts=True)
    auto_profile: bool = flag(
        False, "A backend that is not configured is taken from its built-in profile.", acts=True
    )
    engines: EngineSettings = EngineSettings()
    providers: Providers = Providers()
    runtime: RuntimeSettings = RuntimeSettings()
    hooks: HookSettings = HookSettings()
    events: EventSettings = EventSettings()
    debug: DebugSettings = DebugSettings()
    storage: StorageSettings = StorageSettings()
    tools: ToolSettings = ToolSettings()
    rag: RagSettings = RagSettings()
    engine: LocalEngineSettings = LocalEngineSettings()
    models: ModelSettings = ModelSettings()
    notebook: NotebookSettings = NotebookSettings()
