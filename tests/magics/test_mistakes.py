"""Mistakes: one message that says what to type next, no traceback, and the next cell works."""

from __future__ import annotations

import pytest

from tests.support.kernels import Notebook

BUILD = "%%lua\nAgent.builder()"
MISTAKES = {
    "unknown profile": ("%llmspell_profile cande", "UnknownProfile", "%llmspell_profile candle"),
    "unknown model": (f'{BUILD}:model("smolm2:135m"):build():execute("x")', "ModelNotFound", "smollm2:135m"),
    "not a model name": (f'{BUILD}:model("a b"):build()', "InvalidModelSpec", "model[:variant][@backend]"),
    "unknown backend": (f'{BUILD}:model("x@metal"):build()', "InvalidModelSpec", "candle, ollama"),
    "unknown provider": (f'{BUILD}:provider("openai"):model("gpt"):build()', "ProviderError", "%llmspell_profile providers"),
    "a number as text": (f'{BUILD}:temperature("hot")', "RequestError", "takes a number, not a string"),
    "out of range": (f"{BUILD}:max_tokens(0)", "RequestError", "max_tokens is 0"),
    "a method that is not there": (f"{BUILD}:temprature(0)", "ScriptError", "temprature"),
    "input without text": (f'{BUILD}:model("echo"):build():execute({{}})', "RequestError", "agent:execute({text"),
    "stream without function": (f'{BUILD}:model("echo"):build():invokeStream("x")', "RequestError", "function"),
    "a destroyed agent": ('%%lua\nlocal a = Agent.builder():model("echo"):build()\na:destroy()\na:execute("x")', "RequestError", "Agent.builder()"),
    "unknown info": ('%%lua\nLocalLLM.info("wizard")', "ModelNotFound", "not found in any backend"),
    "nil": ("%%lua\nlocal x = 1\nprint(gravity.force)\nlocal y = 2", "ScriptError", "global 'gravity'"),
    "syntax": ("%%lua\nlocal = 1", "ScriptError", "near '='"),
    "raised": ("%%lua\nerror('my own words')", "ScriptError", "my own words"),
    "forbidden": ('%%lua\nos.execute("true")', "Forbidden", "os.execute"),
    "bad json": ('%%lua\nJSON.parse("{")', "RequestError", "JSON parse error"),
    "nothing to run": ("%lua", "RequestError", "%lua 1 + 1"),
    "time": ("%%lua --timeout 0.3\nwhile true do end", "ScriptTimeout", "0.3 s"),
    "memory": ("%%lua\nlocal s = string.rep('x', 2^30)", "ScriptMemory", "memory"),
    "context": (f'{BUILD}:model("smollm2"):context_window(64):build():execute(string.rep("word ", 200))', "ContextOverflow", "context"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake(book: Notebook, case: str) -> None:
    source, error, says = MISTAKES[case]
    book.good("%%lua\nkept = 'yes'")
    output = book.run(source)
    assert output.error == error, output
    assert says in output.traceback
    assert "Traceback" not in output.traceback
    assert len(output.traceback.splitlines()) <= 8, output.traceback
    assert output.seconds < 4
    assert book.value("%lua kept") == "'yes'"


def test_the_failing_line_is_shown_with_its_neighbours(book: Notebook) -> None:
    output = book.run("%%lua\nlocal x = 1\nprint(gravity.force)\nlocal y = 2")
    assert output.traceback.splitlines()[1:] == [
        "    2 │ local x = 1",
        "→   3 │ print(gravity.force)",
        "    4 │ local y = 2",
    ]


def test_an_error_in_an_earlier_cell_shows_that_cell(book: Notebook) -> None:
    book.good("%%lua\nfunction broken()\n  return nothing.here\nend")
    output = book.run("%%lua\nbroken()")
    assert "→   3 │   return nothing.here" in output.traceback


def test_a_script_can_catch_an_error_of_the_host(book: Notebook) -> None:
    output = book.good(
        """%%lua
local ok, message = pcall(function() return LocalLLM.info("wizard") end)
return {ok, type(message), message:find("not found in any backend") ~= nil}"""
    )
    assert output.value == "- false\n- string\n- true"


def test_an_error_brings_no_terminal_codes_and_no_megabytes(book: Notebook) -> None:
    """O4: what an error says may come from a model or a server."""
    codes = r"first\nsecond \27[2J\27]0;title\7 \226\128\174 \194\155 \r"
    said = book.run(f'%%lua\nerror("{codes}" .. ("x"):rep(3000000))').traceback
    assert "first\nsecond \\x1b[2J\\x1b]0;title\\x07 \\u202e \\x9b \\rxxx" in said
    assert all(each.isprintable() or each == "\n" for each in said) and len(said) < 50_000


def test_the_line_of_an_error_is_shown_as_far_as_it_goes(book: Notebook) -> None:
    said = book.run(f"%%lua\nlocal text = '\x1b[2J{'x' * 100_000}' .. nil").traceback
    assert "\\x1b[2Jxxx" in said and "\x1b" not in said and len(said) < 2000


def test_python_callers_keep_their_traceback(book: Notebook) -> None:
    book.good("from llmspell_jupyter import Agent")
    output = book.run("Agent.builder().temperature('hot')")
    assert output.error == "RequestError"
    assert "Traceback" in output.traceback
