"""The globals of scripts, through a real runtime and engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from llmspell_jupyter.config import paths
from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.errors import Interrupted, LLMSpellError, ProviderError, RequestError
from llmspell_jupyter.runtime import globals as script_globals
from llmspell_jupyter.runtime.execution import Execution
from llmspell_jupyter.runtime.exports import exported
from llmspell_jupyter.runtime.runtime import Runtime

NAMES = ["Agent", "Config", "Debug", "JSON", "LocalLLM", "Provider"]


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    made = Runtime()
    yield made
    made.reset()
    made.engine.close()


def _lua(runtime: Runtime, source: str) -> Any:
    return runtime.start_lua(source, "cell[1]").result(timeout=60)


def test_each_module_is_a_global(runtime: Runtime) -> None:
    assert sorted(runtime.globals) == NAMES
    kinds = _lua(runtime, f"return {{{', '.join(f'type({name})' for name in NAMES)}}}")
    assert kinds == ["table"] * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_all_functions_are_lua_functions(runtime: Runtime, name: str) -> None:
    functions = exported(type(runtime.globals[name]))
    assert functions
    source = " and ".join(f"type({name}.{each}) == 'function'" for each in functions)
    assert _lua(runtime, f"return {source}") is True
    assert _lua(runtime, f"return {name}.no_such_thing") is None


@pytest.mark.parametrize("cls", script_globals.classes())
def test_everything_exported_is_documented(cls: type) -> None:
    for name in exported(cls):
        assert getattr(cls, name).__doc__


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", ["", "nil", "{}", "1, 2, 3", "'x'", "function() end", "{{}}"])
def test_any_argument_gives_a_value_or_a_clear_error(
    runtime: Runtime, name: str, arguments: str
) -> None:
    """Nothing that a script passes may surface as a failure inside this package."""
    for function in exported(type(runtime.globals[name])):
        try:
            _lua(runtime, f"return {name}.{function}({arguments})")
        except LLMSpellError as error:
            assert "Internal error" not in error.message, f"{name}.{function}({arguments}): {error}"
    runtime.globals["Debug"].setEnabled(True)  # type: ignore[attr-defined]
    runtime.globals["Debug"].setLevel("info")  # type: ignore[attr-defined]


def test_json(runtime: Runtime) -> None:
    source = 'return JSON.stringify({b = 1, a = {1, 2, x = 3}, c = 1/0, d = 2.5, e = {}, f = "ü"})'
    assert _lua(runtime, source) == '{"a":[1,2],"b":1,"c":null,"d":2.5,"e":{},"f":"ü"}'
    assert (
        _lua(runtime, """return JSON.parse('{"a": [1, null, 2.0], "b": null}')""")
        == {"a": {1: 1, 3: 2.0}}
        or _lua(runtime, """return JSON.parse('{"a": [1, 2.0]}').a[1]""") == 1
    )
    assert _lua(runtime, "return math.type(JSON.parse('7'))") == "integer"
    with pytest.raises(LLMSpellError, match="JSON parse error"):
        _lua(runtime, "JSON.parse('{')")
    with pytest.raises(LLMSpellError, match="Unsupported Lua type"):
        _lua(runtime, "JSON.stringify({print})")


def test_debug_keeps_what_it_notes(runtime: Runtime) -> None:
    entries = _lua(
        runtime,
        """Debug.clearCaptured()
Debug.info("one", "mod")
Debug.debug("too low")
Debug.logWithData("warn", "two", {x = 1})
Debug.setLevel("error")
Debug.warn("too low")
local level = Debug.getLevel()
Debug.setLevel("info")
return {Debug.getCapturedEntries(), level, Debug.setLevel("loud")}""",
    )
    captured, level, known = entries
    assert [(each["level"], each["message"]) for each in captured] == [
        ("info", "one"),
        ("warn", "two"),
    ]
    assert captured[1]["metadata"] == {"x": 1}
    assert (level, known) == ("error", False)


def test_config_is_read(runtime: Runtime) -> None:
    runtime.use("candle")
    assert _lua(runtime, "return Config.getDefaultEngine()") == "lua"
    assert _lua(runtime, "return Config.listProviders()") == ["candle"]
    assert _lua(runtime, "return Config.getProvider('local').default_model") == "smollm2:135m"
    assert _lua(runtime, "return Config.getProvider('openai')") is None
    assert _lua(runtime, "return Config.isFileAccessAllowed()") is False
    assert _lua(runtime, "return Config.getSection('security').allow_network_access") is True
    with pytest.raises(LLMSpellError, match="Unknown configuration section: x"):
        _lua(runtime, "Config.getSection('x')")


def test_providers(runtime: Runtime) -> None:
    runtime.use("candle")
    (listed,) = _lua(runtime, "return Provider.list()")
    assert (listed["name"], listed["enabled"]) == ("candle", True)
    assert "smollm2:135m" in listed["capabilities"]["available_models"]
    assert _lua(runtime, "return Provider.isAvailable('local'), Provider.isAvailable('x')") == [
        True,
        False,
    ]
    runtime.use("minimal")
    with pytest.raises(ProviderError, match="not configured") as error:
        _lua(runtime, "Agent.builder():model('smollm2'):build()")
    assert "%llmspell_profile candle" in error.value.hint
    runtime.use("candle")


def test_local_models(runtime: Runtime) -> None:
    status = _lua(runtime, "return LocalLLM.status()")
    assert status["ollama"] == {"running": False, "models": 0, "error": "Not configured"}
    assert status["candle"]["ready"] is True
    assert status["candle"]["models"] == _lua(runtime, "return #LocalLLM.list()")
    assert _lua(runtime, "return LocalLLM.status('candle').ready") is True
    info = _lua(runtime, "return LocalLLM.info('smollm2@candle')")
    assert info["id"] == "smollm2:135m"
    assert (info["architecture"], info["quantization"]) == ("llama", "Q4_1")
    assert (info["parameter_count"], info["format"], info["bundled"]) == ("135M", "GGUF", True)
    assert _lua(runtime, "return #LocalLLM.list('ollama')") == 0
    with pytest.raises(RequestError, match="metal"):
        _lua(runtime, "LocalLLM.list('metal')")


def test_an_agent_of_the_same_name_takes_its_place(runtime: Runtime) -> None:
    assert _lua(
        runtime,
        """local first = Agent.builder():name("twin"):model("echo"):build()
local second = Agent.builder():name("twin"):model("echo"):build()
local found = Agent.get("twin")
local same = found.id == second.id and found.id ~= first.id
second:destroy()
return {same, Agent.get("twin") == nil, first:get_state(), second:get_state()}""",
    ) == [True, True, "Ready", "Terminated"]


def test_conversation_length_is_kept_and_said(runtime: Runtime) -> None:
    metadata = _lua(
        runtime,
        """local agent = Agent.builder():model("echo"):max_conversation_length(4):build()
local last
for i = 1, 5 do last = agent:execute("turn " .. i) end
return last.metadata""",
    )
    assert metadata["forgotten_messages"] == 6


def test_a_stop_reaches_an_answer_that_python_waits_for(runtime: Runtime) -> None:
    """A stop cancels a host call from another thread."""
    execution = runtime.start_lua(
        "Agent.builder():model('smollm2'):max_tokens(4000):build():execute('Tell me a long story.')",
        "cell[1]",
    )
    begun = threading.Event()
    for event in execution.events():
        if not begun.is_set() and getattr(getattr(event, "part", None), "tokens", 0) > 3:
            begun.set()
            execution.stop("enough")
    with pytest.raises(Interrupted, match="enough"):
        execution.result(timeout=5)


def test_a_stop_on_the_way_to_the_engine(runtime: Runtime) -> None:
    """The script is stopped when its call has begun and does not wait for the answer yet."""
    runtime.engine.status(start_engine=True)
    stoppable = runtime.engine.stoppable
    execution: Execution

    def late(cancel: Callable[[], object]) -> AbstractContextManager[None]:
        execution.stop("enough")
        return stoppable(cancel)

    runtime.engine.stoppable = late
    engine = connections.read(paths.connection_file())
    process = engine.process() if engine else None
    assert process is not None
    process.suspend()
    try:
        execution = runtime.start_lua("LocalLLM.list()", "cell[1]")
        with pytest.raises(Interrupted, match="enough"):
            execution.result(timeout=2)
    finally:
        process.resume()
        runtime.engine.stoppable = stoppable
