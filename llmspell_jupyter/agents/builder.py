"""Building agents, step by step or from a table."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

from llmspell_jupyter.agents.agent import Agent, AgentSettings
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.models import spec

#: Makes the agent that finished settings describe.
Make = Callable[[AgentSettings], Agent]

_LIMITS = ("max_memory_mb", "max_tool_calls", "max_recursion_depth")
_TIME_LIMITS = ("max_execution_time_secs", "max_execution_time")


class AgentBuilder:
    """Collects an agent's settings; every method but ``build`` returns the builder.

    Raises:
        RequestError: From each method, when its argument has the wrong type or is out of range.
    """

    def __init__(self, make: Make):
        self._make = make
        self._settings = AgentSettings()

    def name(self, value: Any) -> Self:
        """Name under which ``Agent.get`` finds it; default ``agent_`` and eight digits."""
        self._settings.name = _text("name", value)
        return self

    def description(self, value: Any) -> Self:
        """Part of the default system prompt."""
        self._settings.description = _text("description", value)
        return self

    def model(self, value: Any) -> Self:
        """``model[:variant][@backend]``, with ``provider/`` before it where a provider is known."""
        provider, rest = spec.split_provider(_text("model", value))
        parsed = spec.parse(rest)
        self._settings.model = rest if parsed.backend is None else parsed.id
        provider = parsed.backend or provider
        if provider is not None:
            self._settings.provider = provider
        return self

    def provider(self, value: Any) -> Self:
        """Name of a provider of the profile; ``local`` stands for ``candle``."""
        self._settings.provider = spec.canonical(_text("provider", value))
        return self

    def system_prompt(self, value: Any) -> Self:
        """Instructions that open every conversation; an empty text means none."""
        self._settings.system_prompt = _text("system_prompt", value)
        return self

    def temperature(self, value: Any) -> Self:
        """0 (always the likeliest token) to 10; default of the provider."""
        self._settings.temperature = _number("temperature", value, 0, 10)
        return self

    def max_tokens(self, value: Any) -> Self:
        """Longest answer in tokens; default of the provider."""
        self._settings.max_tokens = _integer("max_tokens", value, 1)
        return self

    def max_conversation_length(self, value: Any) -> Self:
        """Messages that are remembered; default 100."""
        self._settings.max_conversation_length = _integer("max_conversation_length", value, 2)
        return self

    def max_execution_time(self, value: Any) -> Self:
        """Longest time for one answer, in seconds; default of the provider."""
        self._settings.max_execution_time = _number("max_execution_time", value, 1e-3, 86_400)
        return self

    def max_memory_mb(self, value: Any) -> Self:
        """Kept with the agent; a model's memory is the engine's matter."""
        return self._limit("max_memory_mb", value)

    def max_tool_calls(self, value: Any) -> Self:
        """Kept with the agent until it calls tools."""
        return self._limit("max_tool_calls", value)

    def max_recursion_depth(self, value: Any) -> Self:
        """Kept with the agent until it calls tools."""
        return self._limit("max_recursion_depth", value)

    def resource_limits(self, value: Any) -> Self:
        """A table of the limits above, the time as ``max_execution_time_secs``."""
        limits = _table("resource_limits", value)
        for key in _TIME_LIMITS:
            if key in limits:
                self.max_execution_time(limits[key])
        for key in _LIMITS:
            if key in limits:
                self._limit(key, limits[key])
        return self

    def custom_config(self, value: Any) -> Self:
        """A table with ``system_prompt`` and ``max_conversation_length``; the rest is ignored."""
        config = _table("custom_config", value)
        if "system_prompt" in config:
            self.system_prompt(config["system_prompt"])
        if "max_conversation_length" in config:
            self.max_conversation_length(config["max_conversation_length"])
        return self

    def allow_tool(self, value: Any) -> Self:
        """Add a tool that the agent may use."""
        self._settings.allowed_tools.append(_text("allow_tool", value))
        return self

    def tool(self, value: Any) -> Self:
        """Another name of ``allow_tool``."""
        return self.allow_tool(value)

    def allowed_tools(self, value: Any) -> Self:
        """Replace the list of tools that the agent may use."""
        if value == {}:
            value = []
        if not isinstance(value, list | tuple):
            raise _wrong("allowed_tools", "a list of names", value)
        self._settings.allowed_tools = [_text("allowed_tools", each) for each in value]
        return self

    def type(self, value: Any) -> Self:
        """Accepted for older scripts: every agent here answers by a model."""
        _text("type", value)
        return self

    def capability(self, value: Any) -> Self:
        """Accepted for older scripts: a model can what it can."""
        _text("capability", value)
        return self

    def memory_enabled(self, value: Any) -> Self:
        """False forgets each conversation after its answer; default true."""
        if not isinstance(value, bool):
            raise _wrong("memory_enabled", "a boolean", value)
        self._settings.memory_enabled = value
        return self

    def context_window(self, value: Any) -> Self:
        """Context in tokens, instead of the provider's."""
        self._settings.context_window = _integer("context_window", value, 1)
        return self

    def base_url(self, value: Any) -> Self:
        """Accepted for providers that have one; the local engine has none."""
        _text("base_url", value)
        return self

    def api_key(self, value: Any) -> Self:
        """Accepted for providers that want one; the local engine wants none."""
        _text("api_key", value)
        return self

    def build(self) -> Agent:
        """Make the agent; one of the same name before it is replaced.

        Raises:
            RequestError: No model was named, and the provider has no default.
            ProviderError: The profile does not have this provider.
        """
        # A copy: the builder may go on and build another.
        name = self._settings.name or f"agent_{uuid.uuid4().hex[:8]}"
        tools, limits = list(self._settings.allowed_tools), dict(self._settings.limits)
        return self._make(replace(self._settings, name=name, allowed_tools=tools, limits=limits))

    def _limit(self, name: str, value: Any) -> Self:
        self._settings.limits[name] = _integer(name, value, 1)
        return self


#: Names of the methods that collect settings.
STEPS = sorted(name for name in vars(AgentBuilder) if name[0] != "_" and name != "build")


def from_table(builder: AgentBuilder, table: Any) -> Agent:
    """Build an agent from a table whose keys are names of builder methods.

    ``prompt`` stands for ``system_prompt``.

    Raises:
        RequestError: A key is unknown or a value is wrong.
    """
    config = dict(_table("Agent.create", table))
    if "prompt" in config:
        config.setdefault("system_prompt", config.pop("prompt"))
    # A provider that stands beside the model outranks one inside the model's name.
    for key in sorted(config, key=lambda key: key == "provider"):
        if key not in STEPS:
            raise RequestError(
                f"Agent.create does not know {key!r}.", hint=f"It knows {', '.join(STEPS)}."
            )
        getattr(builder, key)(config[key])
    return builder.build()


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a string", value)
    return value


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a number", value)
    if not least <= value <= most:
        raise RequestError(
            f"{name} is {value}; it can be {least:g} to {most:g}.", data={"param": name}
        )
    return float(value)


def _integer(name: str, value: Any, least: int) -> int:
    number = _number(name, value, least, 2**31)
    if not number.is_integer():
        raise RequestError(f"{name} is {value}; it is a whole number.", data={"param": name})
    return int(number)


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, "a table with named values", value)
    return value


_LUA_NAMES: dict[type, str] = {
    type(None): "nil",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a table",
    dict: "a table",
}


def _wrong(name: str, wanted: str, value: Any) -> RequestError:
    given = _LUA_NAMES.get(type(value), f"a {type(value).__name__}")
    return RequestError(f"{name} takes {wanted}, not {given}.", data={"param": name})
