"""Models without an agent, and what of profile, variable and builder reaches their worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import DeviceUnavailable, LLMSpellError, ProviderError, RequestError
from llmspell_jupyter.runtime.runtime import AnswerPart, Runtime
from llmspell_jupyter.types import LoadOptions, Phase, Progress
from tests.support.engines import in_this_process, runtime_folder, wait_for

# Of the two GPUs the one that this platform never has.
OTHER, OWN = ("cuda", "metal") if sys.platform == "darwin" else ("metal", "cuda")


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with runtime_folder() as variables, in_this_process(variables):
        yield variables


@pytest.fixture
def runtime(environment: dict[str, str]) -> Iterator[Runtime]:
    made = Runtime()
    yield made
    made.reset()
    made.engine.close()


def run(runtime: Runtime, source: str) -> Any:
    return runtime.start_lua(source, "cell[1]").result(timeout=60)


def test_counting(runtime: Runtime) -> None:
    assert run(runtime, 'return LocalLLM.count("one two three", "echo")') == 3
    said = '{{role = "system", content = "a b"}, {role = "user", content = "c d"}}'
    assert run(runtime, f'return LocalLLM.count({said}, "echo@candle")') == 2
    # Without a model it is the profile's, and the count is the model's own.
    counted = run(runtime, 'return LocalLLM.count({{role = "user", content = "Hello there."}})')
    source = """return Agent.builder():model("smollm2"):system_prompt(""):max_tokens(1):build()
      :execute("Hello there.").metadata.prompt_tokens"""
    assert counted == run(runtime, source)


def test_loading_and_unloading(runtime: Runtime) -> None:
    phases, metadata = run(
        runtime,
        """local phases = {}
local metadata = LocalLLM.load("echo:slow", function(p)
  phases[#phases + 1] = p.phase .. " " .. (p.percent or "")
end)
return {phases, metadata}""",
    )
    assert phases[0] == "loading 0" and phases[-1] == "loading 100" and len(phases) > 50
    assert (metadata["model"], metadata["device"]) == ("echo:slow", "cpu")
    assert run(runtime, 'return LocalLLM.load("echo:slow").load_ms') == 0
    source = 'return Agent.builder():model("echo:slow"):build():execute("x").metadata.load_ms'
    assert run(runtime, source) == 0, "an agent wants the worker that was loaded"
    assert run(runtime, 'return LocalLLM.unload("echo:slow")') == 1
    assert run(runtime, 'return LocalLLM.unload("echo:slow", {force = true})') == 0


def test_an_error_of_on_progress_gives_the_load_up(runtime: Runtime) -> None:
    with pytest.raises(LLMSpellError, match="enough"):
        run(runtime, 'LocalLLM.load("echo:slow", function(p) error("enough") end)')
    wait_for(lambda: (runtime.engine.status() or {}).get("jobs") == [])


def test_vectors(runtime: Runtime) -> None:
    one, two = run(
        runtime, 'return {LocalLLM.embed("a", "echo"), LocalLLM.embed({"a", "b"}, "echo")}'
    )
    assert len(one) == 8 and two[0] == one != two[1]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("LocalLLM.count()", "takes a text"),
        ('LocalLLM.count({{role = "tool", content = "x"}})', "takes a text"),
        ('LocalLLM.count("x", 7)', "name of a model"),
        ('LocalLLM.load("echo", "x")', "a model and a function"),
        ("LocalLLM.unload()", "name of a model"),
        ('LocalLLM.unload("echo", {forse = true})', "table with force"),
        ('LocalLLM.embed({1}, "echo")', "list of texts"),
        ('LocalLLM.load("smolm2:135m")', "smollm2:135m"),
        ('LocalLLM.load("openai/gpt-4")', "not configured"),
    ],
)
def test_mistakes(runtime: Runtime, source: str, says: str) -> None:
    with pytest.raises(LLMSpellError, match=says):
        run(runtime, source)


def test_a_profile_without_models_says_so(runtime: Runtime) -> None:
    runtime.use("minimal")
    with pytest.raises(ProviderError, match="not configured"):
        run(runtime, 'LocalLLM.load("echo")')


# What reaches the worker

FILE = """extends = "candle"
[providers.candle]
context_size = 99
batch_size = 9
cpu_threads = 2
max_concurrent = 3
device = "cpu"
use_flash_attention = false
gpu_layers = 4
cache_type = "q8_0"
dtype = "bfloat16"
"""


def test_every_key_of_the_profile_reaches_the_worker(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(FILE)
    runtime.use(config_file=file)
    expected = LoadOptions(99, 9, 2, 3, "cpu", "bfloat16", 4, False, "q8_0")
    told = run(runtime, 'return LocalLLM.load("echo").load_options')
    assert told == {name: getattr(expected, name) for name in LoadOptions.__dataclass_fields__}
    source = 'return Agent.builder():model("echo"):build():execute("x").metadata'
    answer = run(runtime, source)
    assert answer["load_options"] == told and answer["load_ms"] == 0


AGENT = 'Agent.builder():model("echo"){step}:build():execute("x").metadata'


def _device(runtime: Runtime, step: str = "") -> str:
    told: str = run(runtime, f"return {AGENT.format(step=step)}")["load_options"]["device"]
    return told


def test_the_device_of_the_variable(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDLE_DEVICE", OTHER)
    runtime = Runtime()
    assert _device(runtime) == OTHER
    monkeypatch.setenv("LLMSPELL_PROVIDER_CANDLE_DEVICE", "cpu")
    runtime.use()
    assert _device(runtime) == "cpu"
    runtime.engine.close()


def test_the_device_of_profile_and_builder(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f'extends = "candle"\n[providers.candle]\ndevice = "{OTHER}"\n')
    runtime.use(config_file=file)
    assert _device(runtime) == OTHER
    assert _device(runtime, ':device("cpu")') == "cpu"
    with pytest.raises(DeviceUnavailable, match=f"{OWN} was asked for"):
        _device(runtime, f':device("{OWN}")')


def test_controls_of_the_builder_reach_the_worker(runtime: Runtime) -> None:
    answer = run(
        runtime,
        """return Agent.builder():model("echo"):seed(7):stop("two"):sampling({mirostat = 2})
  :json_schema({type = "object"}):build():execute('{"a": [1]} two three')""",
    )
    assert answer["metadata"]["seed"] == 7
    assert answer["text"] == '{"a": [1]} ' and answer["data"] == {"a": [1]}
    with pytest.raises(RequestError, match="before it was whole"):
        run(
            runtime,
            """Agent.builder():model("echo"):max_tokens(1):json_schema({type = "object"}):build()
  :execute('{"a": 1}')""",
        )


def test_the_usual_instructions_are_for_models_that_converse(runtime: Runtime) -> None:
    source = """local function tokens(step)
  local builder = Agent.builder():name("max"):model("smollm2"):max_tokens(1)
  if step then builder:system_prompt(step) end
  return builder:build():execute("Hello.").metadata.prompt_tokens
end
return {tokens(), tokens("You are max, an AI assistant. LLM-powered agent"), tokens("")}"""
    usual, same, none = run(runtime, source)
    # This model's template has instructions of its own for a conversation without any.
    assert usual == same != none


# What is told meanwhile


def test_a_note_is_part_of_what_is_shown(runtime: Runtime) -> None:
    shown: list[AnswerPart] = []
    execution = runtime.start_lua(
        f'LocalLLM.load("echo"); Agent.builder():model("echo"):device("{OTHER}"):build():execute("x")',
        "cell[1]",
    )
    shown = [event for event in execution.events() if isinstance(event, AnswerPart)]
    execution.result(timeout=30)
    progress = [event.part for event in shown if isinstance(event.part, Progress)]
    assert {Phase.LOADING, Phase.READING} <= {part.phase for part in progress}
    assert [part.note for part in progress if part.note]


def test_outside_a_notebook_a_note_is_logged(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    from llmspell_jupyter.agents.agent import AgentSettings

    agent = runtime.make_agent(AgentSettings(name="a", model="echo", device=OTHER))
    runtime.follow(agent.ask("x"))
    assert f"{OTHER} was asked for, and the CPU computes" in caplog.text
    assert os.environ.get("CANDLE_DEVICE") is None
