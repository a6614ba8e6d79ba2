"""What a profile may say. Unknown keys are errors, so that a slip of the pen is seen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of a profile: immutable, strict about names and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class LuaSettings(Section):
    """Table ``[engines.lua]``."""

    max_memory_bytes: Annotated[int, Field(ge=4_000_000, le=2**40)] = Field(
        default=50_000_000, description="Memory that one notebook's Lua state may take, in bytes."
    )


class EngineSettings(Section):
    """Table ``[engines]``."""

    lua: LuaSettings = LuaSettings()


class ProviderSettings(Section):
    """Table ``[providers.NAME]``."""

    provider_type: Literal["candle"] = Field(
        validation_alias=AliasChoices("provider_type", "type"),
        description="Who answers: 'candle' is the engine of this package.",
    )
    enabled: bool = Field(default=True, description="False hides the provider from scripts.")
    default_model: str | None = Field(
        default=None,
        validation_alias=AliasChoices("default_model", "model"),
        description="Model of agents that name none.",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=10, description="Temperature of agents that set none."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Answer length of agents that set none, in tokens.",
    )
    timeout_seconds: float = Field(
        default=300,
        gt=0,
        le=86_400,
        description="Longest time that one answer may take, in seconds.",
    )
    context_size: int = Field(
        default=4096,
        ge=0,
        le=10_000_000,
        description="Context in tokens; 0 is what the model allows.",
    )
    batch_size: int = Field(
        default=512, ge=1, le=65_536, description="Prompt tokens that are read at a time."
    )
    cpu_threads: int = Field(
        default=0, ge=0, le=1024, description="Threads of a model; 0 is one for each usable core."
    )


class Providers(Section):
    """``[providers]``: the default's name, and a table for each provider."""

    model_config = ConfigDict(extra="allow")

    default_provider: str | None = Field(
        default=None, description="Provider of agents and models that name none."
    )
    __pydantic_extra__: dict[str, ProviderSettings] = Field(init=False)

    def named(self) -> dict[str, ProviderSettings]:
        """The enabled providers by name, in the order of the file."""
        return {name: each for name, each in self.__pydantic_extra__.items() if each.enabled}


class SecuritySettings(Section):
    """Table ``[runtime.security]``."""

    allow_file_access: bool = Field(default=False, description="Scripts may read and write files.")
    allow_network_access: bool = Field(default=True, description="Scripts may use the network.")
    allow_process_spawn: bool = Field(default=False, description="Scripts may start programs.")


class RuntimeSettings(Section):
    """Table ``[runtime]``."""

    script_timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        description="Longest time that a cell may run; none by default.",
    )
    security: SecuritySettings = SecuritySettings()


class Configuration(Section):
    """A whole profile."""

    default_engine: Literal["lua"] = Field(default="lua", description="Language of scripts.")
    engines: EngineSettings = EngineSettings()
    providers: Providers = Providers()
    runtime: RuntimeSettings = RuntimeSettings()
