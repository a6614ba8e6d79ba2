"""What a user types and sees, in a real kernel with the real model."""

from __future__ import annotations

import ast

import pytest

from tests.support.kernels import Notebook, notebook

GRAVITY = """%%lua
local agent = Agent.builder():provider("candle"):model("smollm2:135m"):temperature(0)
  :system_prompt("You are a helpful assistant."):max_tokens(64):build()
local r = agent:execute({text = "Give me a one-sentence definition of gravity."})
print(r.text)
return r.metadata"""


def test_the_main_job(book: Notebook) -> None:
    profile = book.good("%llmspell_profile candle")
    assert profile.stdout == "Profile candle · provider candle · model smollm2:135m\n"
    answer = book.good(GRAVITY)
    assert answer.stdout.startswith("Gravity is")
    assert not answer.shown
    assert answer.value is not None
    facts = dict(line.split(": ", 1) for line in answer.value.splitlines())
    assert facts["device"] == "cpu"
    assert facts["engine_backend"] == "llama_cpp"
    assert facts["finish_reason"] == "stop"
    assert int(facts["completion_tokens"]) > 5
    assert float(facts["tokens_per_second"]) > 0


def test_the_kernel_holds_no_model(book: Notebook) -> None:
    book.good(GRAVITY)
    loaded = book.value(
        "import sys; sorted({'torch', 'llama_cpp', 'transformers', 'numpy'} & sys.modules.keys())"
    )
    assert loaded == "[]"


def test_a_live_line_gives_way_to_the_answer(live_book: Notebook) -> None:
    answer = live_book.good(GRAVITY)
    assert len(answer.shown) == 1
    lines = [data["text/plain"] for data in [*answer.shown, *answer.updates]]
    assert all(set(data) == {"text/plain"} for data in [*answer.shown, *answer.updates])
    assert any("reading the prompt" in line for line in lines)
    assert any("answering · " in line and "tokens/s" in line for line in lines)
    assert any("Gravity" in line for line in lines)
    assert lines[-1] == ""
    assert answer.stdout.count("Gravity") == 1


def test_chunks_reach_the_script_and_stand_once(live_book: Notebook) -> None:
    answer = live_book.good(
        """%%lua
local agent = Agent.builder():model("smollm2"):temperature(0):max_tokens(12):build()
local n = 0
local r = agent:invokeStream("What is two plus two?", function(chunk)
  n = n + 1
  assert(chunk.index == n)
  io.write(chunk.text)
end)
assert(r.success and r.chunks_received == n and n > 3)
return r.text"""
    )
    assert answer.value is not None
    assert answer.stdout == ast.literal_eval(answer.value)
    assert not any(answer.stdout in str(data) for data in answer.updates)
    assert answer.updates[-1] == {
        "text/plain": "smollm2:135m · not finished: max_tokens is reached after 12 tokens"
    }


def test_a_callback_may_yield_from_a_coroutine(book: Notebook) -> None:
    answer = book.good(
        """%%lua
local agent = Agent.builder():model("echo"):build()
local words = coroutine.wrap(function()
  agent:invokeStream("one two three", function(chunk) coroutine.yield(chunk.text) end)
end)
return {words(), words(), words()}"""
    )
    assert answer.value == '- "one "\n- "two "\n- three'


def test_lua_state_lasts_until_reset(book: Notebook) -> None:
    book.good("%%lua\ncounter = 1")
    book.good("%%lua\ncounter = counter + 1")
    assert book.value("%lua counter") == "2"
    book.good("%llmspell_profile minimal")
    assert book.value("%lua counter") == "2"
    book.good("%llmspell_profile candle")
    book.good("%llmspell_reset")
    assert book.value("repr(get_ipython().run_line_magic('lua', 'counter'))") == "'None'"


def test_values_are_python_values(book: Notebook) -> None:
    assert book.value("%lua 1 + 1") == "2"
    assert book.value("%lua {1, 2, {x = true}}") == "- 1\n- 2\n-\n  x: true"
    book.good("%%lua\nreturn {name = 'gravity', list = {1, 2}}")
    assert book.value("_['list'], _['name']") == "([1, 2], 'gravity')"
    assert book.good("%%lua\nlocal nothing = 1").value is None


def test_a_line_of_lua_is_taken_as_it_is_typed(book: Notebook) -> None:
    """Braces and dollars are Lua's, whatever Python variables there are."""
    book.good("x, role = 'boom', 'user'")
    assert book.value("%lua #{1,2,3}") == "3"
    assert book.value("%lua {1,2}") == "- 1\n- 2"
    assert book.value("%lua '$x {x} {{x}}'") == "'$x {x} {{x}}'"
    assert book.value('%lua JSON.stringify({"a","b"})') == """'["a","b"]'"""
    book.good("%lua x = 'of Lua'")
    assert book.value("%lua return {x}") == "- of Lua"
    count = '%lua LocalLLM.count({{role = "user", content = "Hello."}}, "smollm2:135m")'
    assert int(book.value(count)) > 1


def test_a_line_of_lua_can_be_limited_in_time(book: Notebook) -> None:
    assert book.value("%lua --timeout 5 1 + 1") == "2"
    assert book.value("%lua --timeout=5 {1}") == "- 1"
    output = book.run("%lua --timeout 0.3 (function() while true do end end)()")
    assert output.error == "ScriptTimeout" and "%lua --timeout" in output.traceback
    assert book.good("%lua -- only a comment").value is None
    assert "--timeout" in book.value("get_ipython().magics_manager.magics['line']['lua'].__doc__")


@pytest.mark.parametrize("magic", ["%lua {} 1 + 1", "%%lua {}\nreturn 1"])
@pytest.mark.parametrize(
    "given", ["--timeout soon", "--timeout 0", "--timeout -1", "--timeout nan"]
)
def test_a_limit_that_is_none_is_refused(book: Notebook, magic: str, given: str) -> None:
    said = book.run(magic.format(given)).stderr
    assert said.startswith("UsageError: argument --timeout: ") and "seconds" in said, said
    assert book.value("%lua 1 + 1") == "2"


def test_a_limit_may_come_from_python(book: Notebook) -> None:
    book.good("limit = 0.3")
    assert book.run("%%lua --timeout {limit}\nwhile true do end").error == "ScriptTimeout"


def test_a_tree_shows_what_no_terminal_should_obey(book: Notebook) -> None:
    """O4."""
    answer = book.good(
        r"""%%lua
return {
  ["key\27[2J\n"] = 1, ["a key"] = 2, del = "\127", csi = "\194\155", bidi = "\226\128\174",
  raw = "\195", osc = "\27]0;x\7", fine = "é ☃ \"q\"\n", far = "\243\160\128\129",
}"""
    )
    assert answer.value is not None
    assert answer.value.split("\n") == [
        "a key: 2",
        r'bidi: "\u202e"',
        r'csi: "\x9b"',
        r'del: "\x7f"',
        r'far: "\U000e0001"',
        r'fine: "é ☃ \"q\"\n"',
        r'"key\u001b[2J\n": 1',
        r'osc: "\u001b]0;x\u0007"',
        r'raw: "\udcc3"',
    ]


def test_prints_come_in_order(book: Notebook) -> None:
    answer = book.good(
        """%%lua
print("first", 1, 2.0, nil, true)
io.write("no", " newline", "\\n")
Debug.info("a note", "here")
print({}, print)"""
    )
    expected = "first\t1\t2\tnil\ttrue\nno newline\n[INFO] here: a note\ntable\tfunction\n"
    assert answer.stdout == expected


def test_python_and_lua_share_agents(book: Notebook) -> None:
    book.good("%%lua\nAgent.builder():name('echo one'):model('echo'):build()")
    book.good("from llmspell_jupyter import Agent, LocalLLM")
    assert book.value("Agent.get('echo one').complete('said in Python')") == "'said in Python'"
    assert book.value("LocalLLM.list()[0]['id'], LocalLLM.list()[0]['bundled']") == (
        "('smollm2:135m', True)"
    )
    book.good("agent = Agent.builder().model('echo').name('from Python').build()")
    assert book.value("%lua Agent.get('from Python'):complete('hello')") == "'hello'"
    chunks = "c = []; agent.invokeStream('a b', lambda chunk: c.append(chunk['text'])); c"
    assert book.value(chunks) == "['a ', 'b']"


def test_python_code_sees_the_live_line_too() -> None:
    """Also when no magic was used before."""
    with notebook(LLMSPELL_RENDER="auto") as fresh:
        fresh.good("from llmspell_jupyter import Agent")
        answer = fresh.good("Agent.builder().model('echo').build().complete('hello there')")
        assert answer.shown
        assert answer.updates[-1] == {"text/plain": ""}


def test_an_agent_remembers_the_conversation(book: Notebook) -> None:
    answer = book.good(
        """%%lua
local agent = Agent.builder():model("smollm2"):temperature(0):max_tokens(4):build()
local first = agent:execute("Hello.").metadata.prompt_tokens
local second = agent:execute("Hello.").metadata.prompt_tokens
return second > first + 5"""
    )
    assert answer.value == "True"


def test_status_and_list(book: Notebook) -> None:
    book.good(GRAVITY)
    status = book.good("%llmspell_status").stdout
    assert "Profile candle" in status
    assert "smollm2:135m  ready  cpu" in status
    listing = book.good("%model_list").stdout
    assert "smollm2:135m" in listing
    assert "98.4 MB" in listing
    assert "bundled" in listing


def test_text_of_a_model_is_only_text(live_book: Notebook, tmp_path: object) -> None:
    """O2: a path or a URL in an answer is shown as it stands, and nobody opens it."""
    said = "<img src=http://127.0.0.1:9/x onerror=alert(1)> ![](http://127.0.0.1:9/q) \\x1b[31m"
    answer = live_book.good(
        f"%%lua\nlocal r = Agent.builder():model('echo'):build():execute([[{said}]])\nreturn r.text"
    )
    bundles = [*answer.shown, *answer.updates]
    assert all(set(bundle) == {"text/plain"} for bundle in bundles)
    assert answer.value is not None
    assert ast.literal_eval(answer.value) == said


def test_loops_leave_one_display(live_book: Notebook) -> None:
    answer = live_book.good(
        """%%lua
for i = 1, 3 do
  print(Agent.builder():model("echo"):build():complete("round " .. i))
end"""
    )
    assert answer.stdout == "round 1\nround 2\nround 3\n"
    assert len(answer.shown) == 1
    assert answer.updates[-1] == {"text/plain": ""}


@pytest.mark.parametrize("magic", ["llmspell_profile", "lua"])
def test_magics_document_themselves(book: Notebook, magic: str) -> None:
    book.good(f"text = get_ipython().magics_manager.magics['line']['{magic}'].__doc__")
    assert "::" in book.value("text")
