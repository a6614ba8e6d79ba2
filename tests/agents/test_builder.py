"""What builders accept, and what they say to what they do not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.agents.agent import Agent, AgentSettings
from llmspell_jupyter.agents.builder import STEPS, AgentBuilder, from_table
from llmspell_jupyter.config.schema import ProviderSettings
from llmspell_jupyter.errors import InvalidModelSpec, RequestError
from llmspell_jupyter.providers import Provider, Turn
from llmspell_jupyter.types import Sampling


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
        "sampling": {"typical_p": 0.5, "mirostat": 2.0},
        "json_schema": {"type": "object"},
        "device": "cpu",
        "stop": ["a", "b"],
    }
    fractions = ("temperature", "top_p", "min_p", "repeat_penalty")
    values |= dict.fromkeys(fractions, 0.5)
    builder = _builder()
    for step in STEPS:
        numeric = step.startswith("max_") or step in (
            "context_window",
            "seed",
            "top_k",
            "num_beams",
        )
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
        ("top_p", 1.1),
        ("top_k", 2.5),
        ("seed", 2**32),
        ("num_beams", 0),
        ("repeat_penalty", 0),
        ("device", "tpu"),
        ("stop", ""),
        ("stop", ["a"] * 17),
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


def test_controls_reach_the_settings() -> None:
    builder = _builder().temperature(0).top_p(0.5).top_k(7.0).seed(2**32 - 2).stop("x").grammar("g")
    builder.sampling(
        {"mirostat": 2.0, "logit_bias": {7: -1, 9: 2.5}, "dry_sequence_breakers": ["."]}
    )
    builder.json_schema({"type": "object"}).device("cpu")
    settings = _settings(builder)
    assert settings.sampling == {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 7,
        "seed": 2**32 - 2,
        "mirostat": 2,
        "logit_bias": ((7, -1), (9, 2.5)),
        "dry_sequence_breakers": (".",),
    }
    assert type(settings.sampling["top_k"]) is int
    assert (settings.stop, settings.grammar, settings.device) == (("x",), "g", "cpu")
    assert settings.json_schema == {"type": "object"}


def test_every_control_can_be_set_by_a_table() -> None:
    usual = Sampling(temperature=0.5, repeat_penalty=1.0, seed=1)
    for name in Sampling.__dataclass_fields__:
        value: Any = getattr(usual, name)
        given = {"logit_bias": {}, "dry_sequence_breakers": ["x"]}.get(name, value)
        kept = _settings(_builder().sampling({name: given})).sampling
        assert kept == {name: value if name != "dry_sequence_breakers" else ("x",)}


def test_an_unknown_control_names_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"does not know 'typicl_p'\.\nDid you mean 'typical_p'"):
        _builder().sampling({"typicl_p": 1})


def test_biases_of_a_lua_list() -> None:
    assert _settings(_builder().sampling({"logit_bias": [-1.0]})).sampling == {
        "logit_bias": ((1, -1.0),)
    }


def test_custom_config_acts_where_it_names_a_control() -> None:
    config = {"top_k": 3, "device": "cpu", "stop": "x", "other": object(), "capability": 1}
    settings = _settings(_builder().custom_config(config))
    assert (settings.sampling, settings.device, settings.stop) == ({"top_k": 3}, "cpu", ("x",))
    with pytest.raises(RequestError, match="top_p"):
        _builder().custom_config({"top_p": 2})


@pytest.mark.parametrize("text", ["/models/x.gguf", "./x", "../x", "~/x"])
def test_a_path_is_a_model(text: str) -> None:
    settings = _settings(_builder().provider("candle").model(text))
    assert settings.provider == "candle"
    assert settings.model is not None
    assert Path(settings.model).is_absolute() and Path(settings.model).name == Path(text).name


class _Asked(Provider):
    """Keeps the turn."""

    def generate(self, turn: Turn) -> Any:
        self.turn = turn

    def capabilities(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("system", "persona", "messages"),
    [
        (None, "You are max, an AI assistant. LLM-powered agent", ["user"]),
        ("", None, ["user"]),
        ("Be brief.", None, ["system", "user"]),
    ],
)
def test_only_own_instructions_are_messages(
    system: str | None, persona: str | None, messages: list[str]
) -> None:
    engine: Any = None
    provider = _Asked("p", ProviderSettings(provider_type="candle"), engine)
    agent = Agent(AgentSettings(name="max", system_prompt=system), provider, "m")
    agent.ask("x")
    assert provider.turn.persona == persona
    assert [each.role for each in provider.turn.messages] == messages


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
    builder.top_k(1)
    assert second.sampling == {}
    assert dataclasses.is_dataclass(first)
