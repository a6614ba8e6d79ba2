"""Building agents, step by step or from a table."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self, get_args

from llmspell_jupyter.agents import values
from llmspell_jupyter.agents.agent import Agent, AgentSettings
from llmspell_jupyter.engine import limits
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.models import spec
from llmspell_jupyter.providers import named
from llmspell_jupyter.types import DeviceName

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
        self._settings.name = values.text("name", value)
        return self

    def description(self, value: Any) -> Self:
        """Part of the default system prompt."""
        self._settings.description = values.text("description", value)
        return self

    def model(self, value: Any) -> Self:
        """``model[:variant][@backend]`` or a path; ``provider/`` before it names a provider."""
        provider, self._settings.model = named(values.text("model", value))
        if provider is not None:
            self._settings.provider = provider
        return self

    def provider(self, value: Any) -> Self:
        """Name of a provider of the profile; ``local`` stands for ``candle``."""
        self._settings.provider = spec.canonical(values.text("provider", value))
        return self

    def system_prompt(self, value: Any) -> Self:
        """Instructions that open every conversation; an empty text means none."""
        self._settings.system_prompt = values.text("system_prompt", value)
        return self

    def temperature(self, value: Any) -> Self:
        """0 (always the likeliest token) to 10; default of the provider."""
        return self._control("temperature", value)

    def top_p(self, value: Any) -> Self:
        """Keep the likeliest tokens that together hold this probability; default 0.9, 1 is off."""
        return self._control("top_p", value)

    def top_k(self, value: Any) -> Self:
        """Keep this many of the likeliest tokens; default 40, 0 is off."""
        return self._control("top_k", value)

    def min_p(self, value: Any) -> Self:
        """Drop tokens less likely than this share of the likeliest; default 0, which is off."""
        return self._control("min_p", value)

    def repeat_penalty(self, value: Any) -> Self:
        """Divides the logits of recent tokens; 1 is off; default of the model's backend."""
        return self._control("repeat_penalty", value)

    def num_beams(self, value: Any) -> Self:
        """Texts that a beam search follows; default 1, which is no search."""
        return self._control("num_beams", value)

    def seed(self, value: Any) -> Self:
        """Seed of the draw; without it each answer draws a fresh one, which its metadata tells."""
        return self._control("seed", value)

    def sampling(self, value: Any) -> Self:
        """A table of any controls, such as ``{typical_p = 0.9, mirostat = 2}``."""
        for name, each in values.table("sampling", value).items():
            if name not in values.CONTROLS:
                near = difflib.get_close_matches(str(name), values.CONTROLS, n=1)
                raise RequestError(
                    f"sampling does not know {name!r}.",
                    hint=f"Did you mean {near[0]!r}?"
                    if near
                    else f"It knows {values.listed(values.CONTROLS)}.",
                    data={"param": "sampling", "nearest": near},
                )
            self._control(name, each)
        return self

    def stop(self, value: Any) -> Self:
        """A string, or a list of strings, before which an answer ends."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(each, str) for each in texts):
            raise values.wrong("stop", "a string or a list of strings", value)
        limits.check_stop(texts)
        self._settings.stop = tuple(texts)
        return self

    def json_schema(self, value: Any) -> Self:
        """JSON Schema that answers follow; ``data`` in the output is the decoded value."""
        self._settings.json_schema = dict(values.table("json_schema", value))
        return self

    def grammar(self, value: Any) -> Self:
        """GBNF grammar, as in llama.cpp, that answers follow."""
        self._settings.grammar = values.text("grammar", value)
        return self

    def device(self, value: Any) -> Self:
        """``"auto"``, ``"cpu"``, ``"cuda"`` or ``"metal"``; default of the provider."""
        if value not in get_args(DeviceName):
            raise values.wrong("device", f"one of {values.listed(get_args(DeviceName))}", value)
        self._settings.device = value
        return self

    def max_tokens(self, value: Any) -> Self:
        """Longest answer in tokens; default of the provider."""
        self._settings.max_tokens = values.integer("max_tokens", value, 1)
        return self

    def max_conversation_length(self, value: Any) -> Self:
        """Messages that are remembered; default 100."""
        self._settings.max_conversation_length = values.integer("max_conversation_length", value, 2)
        return self

    def max_execution_time(self, value: Any) -> Self:
        """Longest time for one answer, in seconds; default of the provider."""
        self._settings.max_execution_time = values.number("max_execution_time", value, 1e-3, 86_400)
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
        limits = values.table("resource_limits", value)
        for key in _TIME_LIMITS:
            if key in limits:
                self.max_execution_time(limits[key])
        for key in _LIMITS:
            if key in limits:
                self._limit(key, limits[key])
        return self

    def custom_config(self, value: Any) -> Self:
        """A table for older scripts: the steps of ``CUSTOM`` and controls act, others do not."""
        for name, each in values.table("custom_config", value).items():
            if name in CUSTOM:
                getattr(self, name)(each)
            elif name in values.CONTROLS:
                self._control(name, each)
        return self

    def allow_tool(self, value: Any) -> Self:
        """Add a tool that the agent may use."""
        self._settings.allowed_tools.append(values.text("allow_tool", value))
        return self

    def tool(self, value: Any) -> Self:
        """Another name of ``allow_tool``."""
        return self.allow_tool(value)

    def allowed_tools(self, value: Any) -> Self:
        """Replace the list of tools that the agent may use."""
        if value == {}:
            value = []
        if not isinstance(value, list | tuple):
            raise values.wrong("allowed_tools", "a list of names", value)
        self._settings.allowed_tools = [values.text("allowed_tools", each) for each in value]
        return self

    def type(self, value: Any) -> Self:
        """Accepted for older scripts: every agent here answers by a model."""
        values.text("type", value)
        return self

    def capability(self, value: Any) -> Self:
        """Accepted for older scripts: a model can what it can."""
        values.text("capability", value)
        return self

    def memory_enabled(self, value: Any) -> Self:
        """False forgets each conversation after its answer; default true."""
        if not isinstance(value, bool):
            raise values.wrong("memory_enabled", "a boolean", value)
        self._settings.memory_enabled = value
        return self

    def context_window(self, value: Any) -> Self:
        """Context in tokens, instead of the provider's."""
        self._settings.context_window = values.integer("context_window", value, 1)
        return self

    def base_url(self, value: Any) -> Self:
        """Accepted for providers that have one; the local engine has none."""
        values.text("base_url", value)
        return self

    def api_key(self, value: Any) -> Self:
        """Accepted for providers that want one; the local engine wants none."""
        values.text("api_key", value)
        return self

    def build(self) -> Agent:
        """Make the agent; one of the same name before it is replaced.

        Raises:
            RequestError: No model was named, and the provider has no default.
            ProviderError: The profile does not have this provider.
        """
        # A copy: the builder may go on and build another.
        name = self._settings.name or f"agent_{uuid.uuid4().hex[:8]}"
        settings = self._settings
        return self._make(
            replace(
                settings,
                name=name,
                allowed_tools=list(settings.allowed_tools),
                limits=dict(settings.limits),
                sampling=dict(settings.sampling),
            )
        )

    def _control(self, name: str, value: Any) -> Self:
        self._settings.sampling[name] = values.control(name, value)
        return self

    def _limit(self, name: str, value: Any) -> Self:
        self._settings.limits[name] = values.integer(name, value, 1)
        return self


#: Steps that ``custom_config`` takes, beside all controls.
CUSTOM = (
    *("system_prompt", "max_conversation_length"),
    *("device", "stop", "json_schema", "grammar"),
)

#: Names of the methods that collect settings.
STEPS = sorted(name for name in vars(AgentBuilder) if name[0] != "_" and name != "build")


def from_table(builder: AgentBuilder, table: Any) -> Agent:
    """Build an agent from a table whose keys are names of builder methods.

    ``prompt`` stands for ``system_prompt``.

    Raises:
        RequestError: A key is unknown or a value is wrong.
    """
    config = dict(values.table("Agent.create", table))
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
