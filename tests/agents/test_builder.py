"""What builders accept, and what they say to what they do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from llmspell_jupyter.agents.agent import AgentSettings
from llmspell_jupyter.agents.builder import STEPS, AgentBuilder, from_table
from llmspell_jupyter.errors import InvalidModelSpec, RequestError


def _settings(builder: AgentBuilder) -> AgentSettings:
    kept: list[AgentSettings] = []
    builder._make = lambda settings: kept.append(settings)  # type: ignore[assignment, return-value, func-returns-value]
    builder.build()
    return kept[0]


def _builder() -> AgentBuilder:
    return AgentBuilder(lambda settings: settings)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("model", "provider", "rest"),
    [
        ("smollm2:135m", None, "smollm2:135m"),
        ("smollm2:135m@candle", "candle", "smollm2:135m"),
        ("local/smollm2@candle", "candle", "smollm2"),
        ("local/smollm2", "candle", "smollm2"),
        ("llama3.1:8b@ollama", "ollama", "llama3.1:8b"),
        ("openai/gpt-4", "openai", "gpt-4"),
        ("microsoft/phi-2", None, "microsoft/phi-2"),
    ],
)
def test_model_names(model: str, provider: str | None, rest: str) -> None:
    settings = _settings(_builder().model(model))
    assert (settings.provider, settings.model) == (provider, rest)


def test_a_known_prefix_outranks_an_earlier_provider() -> None:
    assert _settings(_builder().provider("candle").model("openai/gpt-4")).provider == "openai"
    assert _settings(_builder().provider("candle").model("microsoft/phi-2")).provider == "candle"


def test_every_step_returns_the_builder() -> None:
    values: dict[str, Any] = {
        "allowed_tools": ["a", "b"],
        "custom_config": {"system_prompt": "x", "max_conversation_length": 4, "other": 1},
        "resource_limits": {"max_execution_time_secs": 5, "max_memory_mb": 64, "other": 1},
        "memory_enabled": False,
        "temperature": 0.5,
    }
    builder = _builder()
    for step in STEPS:
        numeric = step.startswith("max_") or step == "context_window"
        value = values.get(step, 10 if numeric else "text")
        assert getattr(builder, step)(value) is builder
    settings = _settings(builder)
    assert settings.system_prompt == "text" or settings.system_prompt == "x"
    assert settings.allowed_tools[:2] == ["a", "b"]
    assert settings.limits["max_memory_mb"] in (10, 64)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("value", [None, object(), float("nan"), [[]]], ids=repr)
def test_wrong_values_are_named(step: str, value: Any) -> None:
    with pytest.raises((RequestError, InvalidModelSpec), match=f"{step}|model name"):
        getattr(_builder(), step)(value)


@pytest.mark.parametrize(
    ("step", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("inf")),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_execution_time", 0),
        ("max_conversation_length", 1),
    ],
)
def test_ranges(step: str, value: Any) -> None:
    with pytest.raises(RequestError, match=step):
        getattr(_builder(), step)(value)


def test_lua_numbers_are_taken_as_they_come() -> None:
    assert _settings(_builder().max_tokens(64.0)).max_tokens == 64


def test_tables() -> None:
    builder = _builder()
    builder.build = lambda: builder  # type: ignore[method-assign, assignment, return-value]
    from_table(builder, {"model": "openai/x", "provider": "local", "prompt": "be brief"})
    del builder.build  # type: ignore[method-assign]
    settings = _settings(builder)
    assert (settings.provider, settings.model, settings.system_prompt) == (
        "candle",
        "x",
        "be brief",
    )
    with pytest.raises(RequestError, match="temprature"):
        from_table(_builder(), {"temprature": 0})
    with pytest.raises(RequestError, match=r"Agent\.create takes a table"):
        from_table(_builder(), "model")


def test_two_agents_of_one_builder_share_nothing() -> None:
    builder = _builder().allow_tool("a")
    first = _settings(builder)
    second = _settings(builder.allow_tool("b"))
    assert first.allowed_tools == ["a"]
    assert second.allowed_tools == ["a", "b"]
    assert first.name != second.name
    assert dataclasses.is_dataclass(first)
